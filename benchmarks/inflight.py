"""Ten thousand rollouts at once: does the time stay the agents', and the memory small?"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.measure import Cost, Setting, median_run, program
from benchmarks.tables import MIB, Column, Table, Value, at_most

ABOUT = (
    "{count:,} rollouts in flight at once, each with an agent that waits {wait:g} s, recorded. "
    "Wall time and CPU time are the whole program's, from the start of its interpreter; memory is "
    "the peak of the process tree. The floor waits and exchanges the same four messages on bare "
    "asyncio."
)
WITHIN_S, WITHIN_MIB = 10.0, 1024
WAIT_S = 1.0


def measure(setting: Setting) -> Table:
    count = 1_000 if setting.quick else 10_000
    table = Table(
        "inflight",
        f"{count:,} rollouts in flight",
        ABOUT.format(count=count, wait=WAIT_S),
        (
            Column("source"),
            Column("seconds", ".2f"),
            Column("CPU s", ".2f"),
            Column("peak MiB", ",.0f"),
            Column("KiB per rollout", ",.1f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    work = {"rollouts": count, "concurrent": count, "wait_s": WAIT_S}
    floor = _median(setting, "echo", {**work, "over": "memory"})
    empty = _median(setting, "echo", {**work, "rollouts": 1, "over": "memory", "wait_s": 0.0})
    _add(table, "floor: echo, memory", floor, floor.peak_bytes - empty.peak_bytes, count)
    for place in ("live", "constructor", "path"):
        print(f"inflight: {place}", file=sys.stderr)
        cost = _median(setting, "rollouts", {**work, "place": place})
        idle = program("rollouts", {**work, "place": place, "rollouts": 1, "wait_s": 0.0})
        kept = (at_most(cost.wall_s, WITHIN_S), at_most(cost.peak_bytes / MIB, WITHIN_MIB))
        rest = (f"≤ {WITHIN_S:g} s, ≤ {WITHIN_MIB:,} MiB", "MISS" if "MISS" in kept else "ok")
        _add(table, place, cost, cost.peak_bytes - idle.peak_bytes, count, rest)
    return table


def _median(setting: Setting, name: str, work: dict[str, Any]) -> Cost:
    return median_run(
        setting.repeats(3),
        lambda: program(name, work, sample=True),
        key=lambda cost: cost.wall_s,
    )


def _add(
    table: Table,
    name: str,
    cost: Cost,
    grown: int,
    count: int,
    rest: tuple[Value, Value] = (None, None),
) -> None:
    table.add(name, cost.wall_s, cost.cpu_s, cost.peak_bytes / MIB, grown / count / 1024, *rest)
