"""A large recorded job: can it be listed, looked at and taken up again without waiting?"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.measure import Cost, Setting, median_run, program, run
from benchmarks.tables import MIB, Column, Table, at_most

ABOUT = (
    "A store that holds one interrupted job of {runs:,} runs with {steps} steps each "
    "({size:,.0f} MiB on disk). Wall time of the whole command, the median of {rounds}. The "
    "floor is `hud version`, the same command line with nothing to read."
)
WITHIN_S = 5.0
TASKS, GROUP, QUICK_GROUP, STEPS = 2_000, 100, 10, 3
SOURCE = Path(__file__).resolve().parent / "sources" / "many_letters.py"


def measure(setting: Setting) -> Table:
    group = QUICK_GROUP if setting.quick else GROUP
    home = setting.folder / "bigstore"
    print(f"bigstore: recording {TASKS * group:,} runs", file=sys.stderr)
    work = {"home": str(home), "source": str(SOURCE), "tasks": TASKS, "group": group}
    built = program("big_job", work).data
    rounds = setting.repeats(5)
    size_mib = sum(file.stat().st_size for file in home.rglob("*") if file.is_file()) / MIB
    table = Table(
        "bigstore",
        f"A job of {TASKS * group:,} runs",
        ABOUT.format(runs=TASKS * group, steps=STEPS, size=size_mib, rounds=rounds),
        (
            Column("command"),
            Column("seconds", ".2f"),
            Column("floor", ".2f"),
            Column("CPU s", ".2f"),
            Column("peak MiB", ",.0f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    floor_s = _median(rounds, home, ["version"]).wall_s
    job, last = str(built["job"]), str(built["run"])
    commands: dict[str, list[str]] = {
        "hud jobs": ["jobs"],
        "hud jobs ID": ["jobs", job],
        "hud trace RUN": ["trace", last],
        "hud eval --resume ID --dry-run": ["eval", "--resume", job, "--dry-run"],
    }
    for name, words in commands.items():
        _add(table, name, _median(rounds, home, words), floor_s)
    shutil.rmtree(home)
    return table


def _median(rounds: int, home: Path, words: list[str]) -> Cost:
    command = [_hud(), *words] if _hud() else [sys.executable, "-m", "hud", *words]
    return median_run(
        rounds, lambda: run(command, env={"HUD_HOME": str(home)}), key=lambda cost: cost.wall_s
    )


def _hud() -> str:
    return shutil.which("hud", path=str(Path(sys.executable).parent)) or ""


def _add(table: Table, name: str, cost: Cost, floor_s: float) -> None:
    verdict = at_most(cost.wall_s, WITHIN_S)
    peak = cost.peak_bytes / MIB
    table.add(name, cost.wall_s, floor_s, cost.cpu_s, peak, f"≤ {WITHIN_S:g} s", verdict)
