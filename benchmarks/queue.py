"""Remote rollouts: how many a minute the embedded engine runs, and how soon one begins."""

from __future__ import annotations

import statistics
import sys
from typing import Any

from benchmarks.measure import Setting, program
from benchmarks.tables import Column, Table, at_least, at_most

ABOUT = (
    "Rollouts of an agent that does nothing, asked for over the API, queued, run by the workers of "
    "the server's own process in forks of a warm parent, and recorded durably; {width} at a time, "
    "client and server on the same machine. The floor runs the same rollouts with `Taskset.run`, "
    "without a platform. `idle` is from asking (the request included) to the run's beginning, one "
    "after the other. Medians of {rounds}."
)
PER_MINUTE, WITHIN_S = 1_000.0, 0.050
WIDTH = 8


def measure(setting: Setting) -> Table:
    rollouts, rounds = (200, 1) if setting.quick else (1_000, 3)
    table = Table(
        "queue",
        "Remote rollouts",
        ABOUT.format(width=WIDTH, rounds=rounds),
        (
            Column("what"),
            Column("rollouts/min", ",.0f"),
            Column("submitted/s", ",.0f"),
            Column("server CPU ms", ",.1f"),
            Column("p50 ms", ",.0f"),
            Column("p95 ms", ",.0f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    bare = _median(rounds, {"how": "bare", "rollouts": rollouts, "width": WIDTH})
    blank = (None, None, None, None)
    table.add("floor: Taskset.run", rollouts / bare["took_s"] * 60, *blank, None, None)
    busy = _median(rounds, {"how": "busy", "rollouts": rollouts, "width": WIDTH})
    per_minute = rollouts / busy["took_s"] * 60
    table.add(
        *("queued", per_minute, rollouts / busy["submitted_s"]),
        *(busy["cpu_s"] / rollouts * 1000, None, None),
        *(f"≥ {PER_MINUTE:,.0f}/min", at_least(per_minute, PER_MINUTE)),
    )
    idle = _median(rounds, {"how": "idle", "rollouts": 20 if setting.quick else 50, "width": WIDTH})
    table.add(
        *("idle", None, None, None, idle["p50_s"] * 1000, idle["p95_s"] * 1000),
        *(f"p50 ≤ {WITHIN_S * 1000:g} ms", at_most(idle["p50_s"], WITHIN_S)),
    )
    return table


def _median(rounds: int, work: dict[str, Any]) -> dict[str, float]:
    """Return each figure's median."""
    print(f"queue: {work['how']}", file=sys.stderr)
    found = [program("remote_rollouts", work).data for _ in range(rounds)]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}
