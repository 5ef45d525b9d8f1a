"""The figures that leaderboards, comparisons and scorecards share, as the API spells them.

What is not available is null, never 0. An ungraded run is in no mean, only in the bounds.
"""

from __future__ import annotations

from pydantic import BaseModel

Interval = tuple[float, float]


class Usage(BaseModel):
    """What runs used, per member that counts.

    `cost_per_run_usd` is null when the price of any turn is unknown; `known_cost_per_run_usd` is
    what the turns of known price cost.
    """

    cost_per_run_usd: float | None
    known_cost_per_run_usd: float | None
    unpriced_turns: int
    tokens_per_run: float | None
    turns_per_run: float | None
    time_per_run_s: float | None


class Statistics(BaseModel):
    """The statistics of some runs.

    `interval_95` is robust to correlation within a task. The bounds count the ungraded runs as 0
    and as 1. `ungraded` is how many there are by what broke.
    """

    tasks: int
    runs: int
    graded: int
    ungraded: dict[str, int]
    mean: float | None
    standard_error: float | None
    interval_95: Interval | None
    coverage: float | None
    lower_bound: float | None
    upper_bound: float | None
    success_rate: float | None
    pass_at_k: dict[str, float | None]
    best_at_k: dict[str, float | None]
