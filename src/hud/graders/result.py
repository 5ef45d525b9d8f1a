"""What grading gives: a tree of sub-scores under one reward.

Plain data; combining and computing scores happens elsewhere. Both types can be assigned to, as
templates do, and every assignment is validated, so no NaN or infinity can be put into a grade.
"""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat


class SubScore(BaseModel):
    """One node of a grade: a single measurement, or a value derived from its `children`.

    Attributes:
        name: What was measured; unique among its siblings once combined.
        weight: Share in the parent's value. A negative weight makes the node a penalty.
        value: The measurement, from 0.0 to 1.0.
        children: The nodes this value was derived from, or None for a leaf.
        info: Free JSON detail (outputs, reasons, parameters); `metadata` is its older name.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    name: str
    weight: FiniteFloat = 1.0
    value: FiniteFloat = Field(ge=0.0, le=1.0)
    children: list[SubScore] | None = None
    info: dict[str, Any] | None = Field(
        default=None, validation_alias=AliasChoices("info", "metadata")
    )

    @property
    def metadata(self) -> dict[str, Any] | None:
        """The older name of `info`."""
        return self.info

    @property
    def score(self) -> float:
        """The older name of `value`."""
        return self.value

    def to_summary(self) -> dict[str, Any]:
        """Return the tree without any `info`: names, weights and values only."""
        children = self.children
        return {
            "name": self.name,
            "weight": self.weight,
            "value": self.value,
            "children": None if children is None else [child.to_summary() for child in children],
        }


class EvaluationResult(BaseModel):
    """A whole grade as a template yields it: a reward and where it came from.

    Attributes:
        reward: The finite reward; penalties may take it below 0.
        done: Whether the episode is over.
        content: A sentence for the reader.
        info: Free JSON detail.
        isError: Whether the evaluation itself reports an error.
        subscores: What the reward was combined from.
    """

    model_config = ConfigDict(extra="allow", validate_assignment=True)

    reward: FiniteFloat = 0.0
    done: bool = True
    content: str | None = None
    info: dict[str, Any] = Field(default_factory=dict[str, Any])
    isError: bool = False
    subscores: list[SubScore] | None = None

    @classmethod
    def from_float(cls, value: float) -> EvaluationResult:
        """Return a finished result with just a reward."""
        return cls(reward=value)
