"""Five hundred rollouts at once: does one process's event loop stay free?"""

from __future__ import annotations

import statistics
import sys

from benchmarks.measure import Cost, Setting, program
from benchmarks.model import serving
from benchmarks.tables import MIB, Column, Table, at_most, ratio

ABOUT = (
    "{count} conversations at once in one process, begun over {ramp:g} s: {turns} turns each, a "
    "tool call in all but the last, every answer of the model after 2 to 4 s. `lag` is how late a "
    "task is that wakes up every 10 ms: what everything else on the loop has to wait, on a busy "
    "machine for the cores as well; `own p99` is the CPU time that the loop itself took between "
    "two such moments. CPU time and memory (the peak of the process) are without the model's "
    "server. The floor is the provider's SDK in the shortest loop that calls the same tool, as "
    "plain tasks; `hud` runs recorded rollouts. Both take turns; medians of {times}."
)
COUNT, TURNS, RAMP_S = 500, 5, 5.0
LATENCY = "2-4"
P99_RATIO, P99_MS = 1.5, 100.0
FLOOR, OURS = "bare", "agent"


def measure(setting: Setting) -> Table:
    count = 100 if setting.quick else COUNT
    times = setting.repeats(3)
    table = Table(
        "concurrency",
        f"{count} rollouts at once",
        ABOUT.format(count=count, ramp=RAMP_S, turns=TURNS, times=times),
        (
            Column("what"),
            Column("lag p50 ms", ".1f"),
            Column("lag p99 ms", ".1f"),
            Column("x floor", ".2f"),
            Column("own p99 ms", ".1f"),
            Column("seconds", ".1f"),
            Column("CPU s", ".2f"),
            Column("peak MiB", ",.0f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    work = {"turns": TURNS, "at_once": count, "ramp_s": RAMP_S}
    found: dict[str, list[Cost]] = {FLOOR: [], OURS: []}
    with serving(LATENCY) as server:
        for number in range(times):
            print(f"concurrency: {number + 1} of {times}", file=sys.stderr)
            for way, costs in found.items():
                costs.append(program("crowd", {**work, "way": way, "server": server}))
    late_ms = {way: _median(costs, "p99_ms") for way, costs in found.items()}
    over = ratio(late_ms[OURS], late_ms[FLOOR]) or 0.0
    kept = (at_most(over, P99_RATIO), at_most(late_ms[OURS], P99_MS))
    target = (f"≤ {P99_RATIO:g} x floor, ≤ {P99_MS:g} ms", "MISS" if "MISS" in kept else "ok")
    for name, way, rest in (
        ("floor: SDK", FLOOR, (None, None)),
        ("hud", OURS, target),
    ):
        costs = found[way]
        peak = statistics.median(cost.peak_bytes for cost in costs) / MIB
        times_floor = over if way == OURS else None
        late = (_median(costs, "p50_ms"), late_ms[way], times_floor, _median(costs, "own_p99_ms"))
        spent = (_median(costs, "wall_s"), _median(costs, "cpu_s"), peak)
        table.add(name, *late, *spent, *rest)
    return table


def _median(costs: list[Cost], name: str) -> float:
    return statistics.median(float(cost.data[name]) for cost in costs)
