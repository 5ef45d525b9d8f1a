"""Starting a platform: how long until it answers, and what it holds while it waits."""

from __future__ import annotations

import statistics

from benchmarks.measure import Setting, program
from benchmarks.tables import MIB, Column, Table, at_most

ABOUT = (
    "From starting `hud platform up` on an empty home until `/healthz` was answered, and the memory"
    " of the process half a second later; medians of {rounds} starts. The floor is uvicorn with an "
    "app of one line, started in the same way."
)
WITHIN_S, WITHIN_MIB = 1.5, 150.0


def measure(setting: Setting) -> Table:
    rounds = setting.repeats(9)
    table = Table(
        "serving",
        "Starting a platform",
        ABOUT.format(rounds=rounds),
        (
            Column("server"),
            Column("first answer s", ".2f"),
            Column("idle MiB", ",.0f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    found: dict[str, list[dict[str, float]]] = {"bare": [], "platform": []}
    for _ in range(rounds):
        for name, runs in found.items():
            runs.append(program("first_answer", {"server": name}).data)
    for name, label in (("bare", "floor: bare uvicorn"), ("platform", "hud platform up")):
        answered_s = statistics.median(run["answered_s"] for run in found[name])
        held_mib = statistics.median(run["held_bytes"] for run in found[name]) / MIB
        if name != "platform":
            table.add(label, answered_s, held_mib, None, None)
            continue
        met = {at_most(answered_s, WITHIN_S), at_most(held_mib, WITHIN_MIB)}
        verdict = "ok" if met == {"ok"} else "MISS"
        target = f"≤ {WITHIN_S:g} s, ≤ {WITHIN_MIB:g} MiB"
        table.add(label, answered_s, held_mib, target, verdict)
    return table
