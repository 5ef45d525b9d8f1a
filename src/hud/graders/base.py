"""The base class of graders that are classes: `compute_score` measures, `grade` makes it a node.

A grader that cannot measure raises; nothing here turns a failure into a score.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias, cast

from hud._core.errors import GraderFault, bounded
from hud.graders.parameters import recorded
from hud.graders.result import SubScore

Score: TypeAlias = float | SubScore | tuple[float, dict[str, Any]]
"""What `compute_score` may return: a value, a node, or a value with its `info`."""


class Grader:
    """Measure one aspect of an answer or of the state an agent left.

    Subclasses set `name` and override `compute_score`; callers use `grade` inside `combine`.
    """

    name: ClassVar[str] = "BaseGrader"

    @classmethod
    async def grade(cls, weight: float, name: str | None = None, **kwargs: Any) -> SubScore:
        """Measure with `compute_score(**kwargs)` and return the result as a weighted node.

        The node is called `name`, else as the class says; `kwargs` are kept, bounded, in
        `info["_parameters"]`.

        Raises:
            GraderFault: when the measurement is not a number from 0 to 1.
        """
        score = await cls.compute_score(**kwargs)
        value, children, info = cls._parts(score)
        return SubScore(
            name=name or cls.name,
            weight=weight,
            value=value,
            children=children,
            info={**info, "_parameters": recorded(kwargs)},
        )

    @classmethod
    async def compute_score(cls, **kwargs: Any) -> Score:
        """Return the measurement for `kwargs`: a value from 0 to 1, a node, or (value, info)."""
        raise NotImplementedError(f"{cls.__qualname__} does not override compute_score")

    @classmethod
    def _parts(cls, score: object) -> tuple[float, list[SubScore] | None, Mapping[str, Any]]:
        if isinstance(score, SubScore):
            return score.value, score.children, score.info or {}
        if isinstance(score, tuple):
            value, info = _pair(cast("tuple[object, ...]", score))
            return cls._checked(value), None, info
        return cls._checked(score), None, {}

    @classmethod
    def _checked(cls, value: object) -> float:
        if not isinstance(value, numbers.Real):
            raise GraderFault(
                f"grader {cls.name} returned {bounded(value)}, which is not a number",
                hint="Return a number from 0 to 1, a SubScore, or (number, info dict).",
            )
        number = float(value)
        if math.isnan(number) or not 0.0 <= number <= 1.0:
            raise GraderFault(
                f"grader {cls.name} returned {number!r}, which is not between 0 and 1",
                hint="Scale the score to 0..1; use a negative weight for a penalty.",
            )
        return number


def _pair(score: tuple[object, ...]) -> tuple[object, Mapping[str, Any]]:
    """Return (value, info); a tuple of any other shape is left for the number check to name."""
    match score:
        case (value, Mapping()):
            return value, cast("Mapping[str, Any]", score[1])
        case _:
            return score, {}
