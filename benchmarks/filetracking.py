"""What following a workspace's files costs the commands that write them."""

from __future__ import annotations

import shutil
import statistics
import sys

from benchmarks.measure import BenchmarkFailed, Cost, Setting, program
from benchmarks.tables import Column, Table, at_most

ABOUT = (
    "A shell loop that writes {files:,} files, sent over ssh to a sandboxed workspace {commands} "
    "times without a pause, so that every look at the files falls into the next command. Each line "
    "is the median of {rounds} processes, which take turns; the floor is the same workspace with "
    "tracking off. CPU time is that of the process that serves ssh and looks, without the shell's. "
    "One follower takes everything in that is told."
)
SLOWER = 1.05
FILES = 1_000


def measure(setting: Setting) -> Table:
    if shutil.which("bwrap") is None:
        raise BenchmarkFailed("bwrap is not installed here")
    commands, rounds = (5, 1) if setting.quick else (25, 9)
    table = Table(
        "filetracking",
        f"Following files while a command writes {FILES:,}",
        ABOUT.format(files=FILES, commands=commands, rounds=rounds),
        (
            Column("tracking"),
            Column("ms per command", ".1f"),
            Column("mean ms", ".1f"),
            Column("CPU ms per command", ".2f"),
            Column("KiB told", ",.0f"),
            Column("over floor", ".3f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    found: dict[bool, list[Cost]] = {False: [], True: []}
    for number in range(rounds):
        print(f"filetracking: {number + 1}/{rounds}", file=sys.stderr)
        for tracked, costs in found.items():
            work = {"files": FILES, "commands": commands, "tracked": tracked}
            costs.append(program("filetracking", work))
    floor = _median(found[False], "command_s")
    for tracked, costs in found.items():
        value = _median(costs, "command_s")
        ratio = value / floor if tracked else None
        table.add(
            "on" if tracked else "floor: off",
            value * 1e3,
            _median(costs, "mean_s") * 1e3,
            _median(costs, "cpu_s") * 1e3,
            _median(costs, "told_bytes") / 1024 if tracked else None,
            ratio,
            f"≤ {SLOWER:g}" if tracked else None,
            None if ratio is None else at_most(ratio, SLOWER),
        )
    return table


def _median(costs: list[Cost], name: str) -> float:
    return statistics.median(cost.data[name] for cost in costs)
