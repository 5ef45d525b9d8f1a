"""How much a whole job may use, and the sentence that says that it has.

What has been used is `spending`; counting it while a job runs is `metering`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from hud.eval.spending import Spent

_ROUNDING_USD = 1e-9


@dataclass(frozen=True, slots=True)
class Budget:
    """What all rollouts of a job together may use; None is no limit.

    A job that reaches a limit ends: nothing new starts, what runs is cancelled, what is graded
    stays graded. The turn that reaches it is still counted, so a job may use a little more than
    its budget: at most one turn of every rollout that runs at once.

    Attributes:
        cost_usd: US dollars. Turns of unknown price count nothing.
        tokens: Prompt and completion tokens.
        steps: Turns of a model.
        wall_s: Seconds the job is worked on, pauses between its parts not counted.

    Raises:
        ValueError: when a limit is no positive number.
    """

    cost_usd: float | None = None
    tokens: int | None = None
    steps: int | None = None
    wall_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.limits.items():
            kinds = int if name in ("tokens", "steps") else int | float
            is_number = isinstance(value, kinds) and not isinstance(value, bool)
            if not (is_number and 0 < value < math.inf):
                noun = "whole number" if kinds is int else "number"
                raise ValueError(f"budget: {name} must be a positive {noun}, not {value!r}")

    @property
    def limits(self) -> dict[str, Any]:
        """The limits there are, by name."""
        held = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in held if value is not None}

    def over(self, other: Budget | None) -> Budget:
        """Return the limits of both; where both have one, this one's."""
        return Budget(**{**(other.limits if other is not None else {}), **self.limits})

    def reached(self, spent: Spent, wall_s: float) -> tuple[str, ...]:
        """Return the names of the limits that are used up."""
        used = _used(spent, wall_s)
        return tuple(
            name for name, limit in self.limits.items() if used[name] >= limit - _ROUNDING_USD
        )

    def used_up(self, spent: Spent, wall_s: float) -> str | None:
        """Say in a sentence which limit is used up, with the amounts; None when none is."""
        for name in self.reached(spent, wall_s):
            used = _amount(name, _used(spent, wall_s)[name])
            if name in ("tokens", "steps"):
                used = used.partition(" ")[0]
            return f"the job's budget of {_amount(name, self.limits[name])} is used up ({used})"
        return None

    def against(self, spent: Spent, wall_s: float) -> str:
        """Return every limit with what is used of it: `$2.03 of $2.00`."""
        used = _used(spent, wall_s)
        return ", ".join(
            f"{_amount(name, used[name]).partition(' ')[0]} of {_amount(name, limit)}"
            for name, limit in self.limits.items()
        )

    def __str__(self) -> str:
        return ", ".join(_amount(name, limit) for name, limit in self.limits.items()) or "no limit"


def _used(spent: Spent, wall_s: float) -> dict[str, float]:
    return {
        "cost_usd": spent.known_cost_usd or 0.0,
        "tokens": spent.tokens,
        "steps": spent.turns,
        "wall_s": wall_s,
    }


def _amount(name: str, value: float) -> str:
    match name:
        case "cost_usd":
            return dollars(value)
        case "wall_s":
            return f"{value:,.1f}".removesuffix(".0") + " s" if value >= 1 else f"{value:.2g} s"
        case _:
            noun = "token" if name == "tokens" else "model turn"
            return f"{value:,} {noun}{'' if value == 1 else 's'}"


def dollars(value: float) -> str:
    """Return an amount of US dollars, in cents from $1 on, finer below."""
    in_cents = value >= 1 or abs(value * 100 - round(value * 100)) < _ROUNDING_USD
    return f"${value:.2f}" if in_cents else f"${value:.4f}" if value >= 1e-4 else f"${value:.1e}"
