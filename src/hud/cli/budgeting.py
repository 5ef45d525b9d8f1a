"""A job's budget on the command line: its flags, and how much of it is used."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from hud._core.errors import InputError
from hud.eval.budget import Budget
from hud.eval.results import Results
from hud.eval.resume import spec_of
from hud.store import JobRecord

FLAGS = {
    "cost_usd": "--max-cost",
    "tokens": "--max-tokens",
    "steps": "--max-turns",
    "wall_s": "--max-time",
}
"""The flag of each limit of a `Budget`."""


def make_budget(given: dict[str, Any], was: Budget | None = None) -> Budget | None:
    """Return the limits given and, where nothing is given, those there were; None without any.

    Raises:
        InputError: when one is no positive number.
    """
    for name, value in given.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{FLAGS[name]} must be a positive number, not {value}")
    budget = Budget(**given).over(was)
    return budget if budget.limits else None


def budget_of(job: JobRecord) -> Budget | None:
    """Return what a job may use, where its record says so."""
    with contextlib.suppress(ValueError):
        spec = spec_of(job)
        return spec.budget if spec is not None else None
    return None


def figure(job: JobRecord, results: Results) -> list[tuple[str, str]]:
    """Return the row of the report that says how much of the budget is used."""
    budget = budget_of(job)
    if budget is None:
        return []
    used = budget.against(results.spent, results.wall_s)
    is_over = budget.reached(results.spent, results.wall_s)
    return [("budget", f"{used}, used up" if is_over else used)]


def as_data(job: JobRecord, results: Results) -> dict[str, Any] | None:
    """Return the limits, null where there is none, and which are used up."""
    budget = budget_of(job)
    if budget is None:
        return None
    limits = {name: budget.limits.get(name) for name in FLAGS}
    return {**limits, "used_up": list(budget.reached(results.spent, results.wall_s))}


def flags_for_more(job: JobRecord, results: Results) -> str:
    """Return the flags with which a job goes on whose budget is used up: as much again."""
    budget = budget_of(job)
    if budget is None:
        return ""
    spent, flags = results.spent, ""
    for name in budget.reached(spent, results.wall_s):
        limit = budget.limits[name]
        match name:
            case "cost_usd":
                cents = math.ceil(round(100 * ((spent.known_cost_usd or 0.0) + limit), 6))
                more = f"{cents / 100:.2f}"
            case "wall_s":
                more = str(math.ceil(results.wall_s + limit))
            case _:
                more = str(limit + (spent.tokens if name == "tokens" else spent.turns))
        flags += f" {FLAGS[name]} {more}"
    return flags
