"""Numbers over many recorded runs: leaderboards, comparisons, data frames and files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Cost, Setting, median_run, program, run
from benchmarks.tables import MIB, Column, Table, at_most

ABOUT = (
    "A store that holds {jobs} jobs of one taskset with {runs:,} runs in all. Wall time of the "
    "whole command or program, start of the interpreter and imports included, the median of "
    "{rounds}. The floor reads the same columns of every run with plain SQL and keeps the rows."
)
JOBS, TASKS, GROUP, QUICK_GROUP = 2, 1_000, 100, 5


def measure(setting: Setting) -> Table:
    group = QUICK_GROUP if setting.quick else GROUP
    runs = JOBS * TASKS * group
    home = setting.folder / "numbers"
    print(f"numbers: recording {runs:,} runs", file=sys.stderr)
    work = {"home": str(home), "jobs": JOBS, "tasks": TASKS, "group": group}
    jobs = [str(job) for job in program("many_runs", work).data["jobs"]]
    rounds = setting.repeats(3)
    table = Table(
        "numbers",
        f"Numbers over {runs:,} runs",
        ABOUT.format(jobs=JOBS, runs=runs, rounds=rounds),
        (
            Column("what"),
            Column("seconds", ".2f"),
            Column("floor", ".2f"),
            Column("peak MiB", ",.0f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    floor_s = _median(rounds, lambda: program("frames", {"home": str(home), "way": "sql"})).wall_s
    frame = _median(rounds, lambda: program("frames", {"home": str(home), "way": "load_runs"}))
    _add(table, "load_runs()", frame, floor_s, 10.0)
    file = str(setting.folder / "runs.parquet")
    commands: dict[str, tuple[list[str], float]] = {
        "hud leaderboard TASKSET": (["leaderboard", "set"], 10.0),
        "hud compare A B": (["compare", *jobs], 10.0),
        "hud export runs --to FILE.parquet": (["export", "runs", "--to", file], 10.0),
    }
    for name, (words, within_s) in commands.items():
        _add(table, name, _median(rounds, lambda words=words: _hud(home, words)), floor_s, within_s)
    shutil.rmtree(home)
    return table


def _hud(home: Path, words: list[str]) -> Cost:
    return run([sys.executable, "-m", "hud", *words], env={"HUD_HOME": str(home)})


def _median(rounds: int, measured: Callable[[], Cost]) -> Cost:
    return median_run(rounds, measured, key=lambda cost: cost.wall_s)


def _add(table: Table, name: str, cost: Cost, floor_s: float, within_s: float) -> None:
    peak = cost.peak_bytes / MIB
    verdict = at_most(cost.wall_s, within_s)
    table.add(name, cost.wall_s, floor_s, peak, f"≤ {within_s:g} s", verdict)
