"""What a comparison of two contenders found: the two sides, task by task, and in all.

Plain facts, and their form as data. How they are found is `comparing`, what they mean in words
`verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hud.eval.contender import Used
from hud.eval.pairing import SIGNIFICANCE, SignFlip

TaskState = Literal["compared", "ungraded", "only first", "only second", "changed"]


@dataclass(frozen=True, slots=True)
class TaskPair:
    """One task on both sides.

    Attributes:
        state: Whether it is compared, and if not, why: a side has no grade for it, only one side
            has it, or the sides ran different versions of it.
        first: Mean reward of the first side over its graded members, None without any.
        difference: `first - second`; None unless it is compared.
    """

    slug: str
    state: TaskState
    first: float | None
    first_graded: int
    first_runs: int
    second: float | None
    second_graded: int
    second_runs: int
    difference: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """One side's figures on the tasks that are compared.

    Attributes:
        runs: Members on the tasks that both sides have, the ungraded included.
        mean: Mean reward, every compared task counting the same.
        used: What its runs of the compared tasks used, per member.
        invalid: Members left out of everything because a person marked them, by reason.
        is_running: Whether a job of it has not ended yet.
    """

    name: str
    agent: str | None
    model: str | None
    job_ids: tuple[str, ...]
    runs: int
    graded: int
    mean: float | None
    used: Used
    ungraded_by_cause: Mapping[str, int]
    invalid: Mapping[str, int]
    is_running: bool = False

    @property
    def coverage(self) -> float | None:
        """Share of the members that are graded."""
        return self.graded / self.runs if self.runs else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two contenders compared.

    Attributes:
        pairs: Every task of either side, those that differ most first.
        difference: Mean over the compared tasks of first less second.
        interval: The 95 % t interval around it, tasks being the sample; None with fewer than two.
        test: The sign-flip test over tasks.
        p_value: Its p-value, adjusted (Holm) when it is one of several comparisons.
        comparisons: How many that are.
        lower_bound: The difference were the ungraded 0 on the first side and 1 on the second.
        upper_bound: The same the other way round.
        detectable: The true difference a sample like this would find four times of five.
        changed: Tasks of which the sides ran different versions.
        mixed: Tasks of which a side ran several versions, one of them the other side's.
        includes_changed: Whether runs of other versions are compared nevertheless.
        verdict: What came out, in one sentence.
        warnings: What must be known before believing it, one sentence each.
    """

    first: Side
    second: Side
    pairs: tuple[TaskPair, ...]
    difference: float | None
    interval: tuple[float, float] | None
    test: SignFlip
    p_value: float | None
    comparisons: int
    lower_bound: float | None
    upper_bound: float | None
    detectable: float | None
    changed: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()
    includes_changed: bool = False
    verdict: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def compared(self) -> int:
        """Tasks behind the difference."""
        return sum(one.difference is not None for one in self.pairs)

    @property
    def disagreeing(self) -> int:
        """Tasks on which the sides differ at all."""
        return sum(bool(one.difference) for one in self.pairs)

    @property
    def better(self) -> str | None:
        """The name of the better side; None where no difference can be told."""
        if self.p_value is None or self.p_value > SIGNIFICANCE or self.interval is None:
            return None
        low, high = self.interval
        if low <= 0.0 <= high:  # the test and the interval do not agree
            return None
        return self.first.name if (self.difference or 0.0) > 0 else self.second.name

    def slugs(self, state: TaskState) -> tuple[str, ...]:
        """Return the tasks in that state."""
        return tuple(one.slug for one in self.pairs if one.state == state)

    def as_data(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; what is not available is None."""
        return {
            "verdict": self.verdict,
            "better": self.better,
            "warnings": list(self.warnings),
            "first": _side_data(self.first),
            "second": _side_data(self.second),
            "tasks_compared": self.compared,
            "tasks_disagreeing": self.disagreeing,
            "difference": self.difference,
            "interval_95": list(self.interval) if self.interval else None,
            "p_value": self.p_value,
            "comparisons": self.comparisons,
            "test": {
                "name": "sign-flip",
                "p_value": self.test.p_value,
                "is_exact": self.test.is_exact,
                "flips": self.test.flips,
                "smallest_p": self.test.smallest_p,
            },
            "lower_bound": self.lower_bound,
            "upper_bound": self.upper_bound,
            "detectable_difference": self.detectable,
            "changed": list(self.changed),
            "mixed_versions": list(self.mixed),
            "includes_changed": self.includes_changed,
            "tasks": [
                {
                    "slug": one.slug,
                    "state": one.state,
                    "difference": one.difference,
                    "first": {
                        "mean": one.first,
                        "graded": one.first_graded,
                        "runs": one.first_runs,
                    },
                    "second": {
                        "mean": one.second,
                        "graded": one.second_graded,
                        "runs": one.second_runs,
                    },
                }
                for one in self.pairs
            ],
        }


def _side_data(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "agent": side.agent,
        "model": side.model,
        "jobs": list(side.job_ids),
        "mean": side.mean,
        "runs": side.runs,
        "graded": side.graded,
        "coverage": side.coverage,
        "ungraded": dict(side.ungraded_by_cause),
        "invalid": dict(side.invalid),
        **used_data(side.used),
    }


def used_data(used: Used) -> dict[str, Any]:
    """Return what runs used as plain data."""
    return {
        "cost_per_run_usd": used.cost_usd,
        "known_cost_per_run_usd": used.known_cost_usd,
        "unpriced_turns": used.unpriced_turns,
        "tokens_per_run": used.tokens,
        "turns_per_run": used.turns,
        "time_per_run_s": used.time_s,
    }
