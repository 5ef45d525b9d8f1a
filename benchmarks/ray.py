"""Rollouts on a Ray cluster: what one adds to a bare task of Ray, and whether slots stay busy."""

from __future__ import annotations

import importlib.util
import sys

from benchmarks.measure import Setting, median_run, program
from benchmarks.tables import Column, Table, at_least

ABOUT = (
    "Three Ray nodes of 4 logical CPUs on this one machine. A rollout is a place on an actor that "
    "holds the source imported (one call, one fork), its task started and graded over the control "
    "connection, and the place left; nothing is recorded and no agent works. The floor is a bare "
    "Ray task that sleeps as long. `slept` is the part of all slots' time that was asked for as "
    "sleep; `held` the part in which a rollout had its slot. On one machine all nodes share its "
    "cores: 12 forks and 12 clients at once want more CPU than two cores have."
)
SLOTS, SLEEP_S, OCCUPIED = 12, 0.1, 0.95


def measure(setting: Setting) -> Table:
    table = Table(
        "ray",
        "RayRuntime",
        ABOUT,
        (
            Column("what"),
            Column("concurrent", "d"),
            Column("sleep ms", ".0f"),
            Column("median ms", ",.1f"),
            Column("per second", ",.1f"),
            Column("slept", ".0%"),
            Column("held", ".0%"),
            Column("target"),
            Column("verdict"),
        ),
    )
    if importlib.util.find_spec("ray") is None:
        print("ray: it is not installed; left out", file=sys.stderr)
        return table
    for concurrent, sleep_s in ((1, 0.0), (SLOTS, SLEEP_S)):
        count = (
            (60 if setting.quick else 200) if concurrent == 1 else (240 if setting.quick else 1200)
        )
        for what, name in (("tasks", "floor: a Ray task"), ("rollouts", "RayRuntime")):
            work = {"what": what, "count": count, "concurrent": concurrent, "seconds": sleep_s}
            cost = median_run(
                setting.repeats(3),
                lambda work=work: program("ray_rollouts", work),
                lambda cost: float(cost.data["wall_s"]),
            )
            slot_s = cost.data["wall_s"] * concurrent
            slept, held = count * sleep_s / slot_s, cost.data["held_s"] / slot_s
            target = verdict = None
            if what == "rollouts" and sleep_s:
                target, verdict = f"held ≥ {OCCUPIED:.0%}", at_least(held, OCCUPIED)
            table.add(
                name,
                concurrent,
                1e3 * sleep_s,
                1e3 * cost.data["median_s"],
                count / cost.data["wall_s"],
                slept if sleep_s else None,
                held if sleep_s else None,
                target,
                verdict,
            )
    return table
