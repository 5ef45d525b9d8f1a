"""A grade: what `tasks.grade` answered, as users read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from hud._core.errors import GraderFault, bounded


@dataclass
class Grade:
    """The result of grading one run.

    Attributes:
        reward: The score; NaN when the run is ungraded.
        raw: The grade frame as received.
    """

    reward: float = 0.0
    done: bool = True
    content: str | None = None
    info: dict[str, Any] = field(default_factory=dict[str, Any])
    is_error: bool = False
    raw: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def ungraded(cls) -> Grade:
        """Return the grade of a run that has none: its reward is NaN."""
        return cls(reward=math.nan, done=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Grade:
        """Read a grade frame.

        Raises:
            GraderFault: when it has no finite score.
        """
        score = data.get("score")
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise GraderFault(f"the grade frame has no numeric score: {bounded(data)}")
        if not math.isfinite(score):
            raise GraderFault(f"the grade frame's score is {score}, which is not finite")
        content, info = data.get("content"), data.get("info")
        return cls(
            reward=float(score),
            done=bool(data.get("done", True)),
            content=content if isinstance(content, str) else None,
            info=dict(cast("Mapping[str, Any]", info)) if isinstance(info, Mapping) else {},
            is_error=bool(data.get("isError", False)),
            raw=dict(data),
        )

    @property
    def evaluation(self) -> dict[str, Any]:
        """The grade frame without the info of its subscores."""
        return cast("dict[str, Any]", _without_subscore_info(self.raw))


def _without_subscore_info(value: Any, *, inside: bool = False) -> Any:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value).items()
        return {
            key: _without_subscore_info(item, inside=True)
            if key in ("subscores", "children")
            else item
            for key, item in pairs
            if not (inside and key == "info")
        }
    if isinstance(value, list) and inside:
        items = cast("list[Any]", value)
        return [_without_subscore_info(item, inside=True) for item in items]
    return cast("Any", value)
