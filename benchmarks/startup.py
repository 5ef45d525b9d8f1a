"""How long it takes until there is something to use: imports and the command line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import BenchmarkFailed, Setting, medians, run
from benchmarks.tables import Column, Table, at_most, ratio

ABOUT = (
    "Wall time of a whole process, the median of {rounds} rounds in which every line has its turn. "
    "The floor of the first lines is a bare interpreter; of the classes, one that makes a pydantic "
    "model, which is what they are made of. The peer runs in its own environment with the same "
    "interpreter; a dash stands where its command fails."
)
MODEL = "import pydantic\nclass Row(pydantic.BaseModel):\n    x: int\nRow(x=1)"
IMPORT_S, OVER_PYDANTIC_S, HELP_S = 0.15, 0.10, 0.30

PEER = "the peer's "
Command = tuple[str | Path, ...]


def measure(setting: Setting) -> Table:
    rounds = setting.repeats(15)
    commands = _commands(Path(sys.executable))
    theirs = _commands(setting.peer) if setting.peer else {}
    runs: dict[str, Callable[[], float]] = {}
    for name, command in commands.items():
        runs[name] = _timed(command, is_peer=False)
    for name, command in theirs.items():
        runs[PEER + name] = _timed(command, is_peer=True)
    runs = {name: timed for name, timed in runs.items() if _works(name, timed)}
    found = medians(rounds, runs)
    table = Table(
        "startup",
        "Starting up",
        ABOUT.format(rounds=rounds),
        (
            Column("what"),
            Column("seconds", ".3f"),
            Column("floor", ".3f"),
            Column("over floor", "+.3f"),
            Column("peer", ".3f"),
            Column("peer / ours", ".1f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    bare, model = found["python -c pass"], found["import pydantic, one model"]
    targets = {
        "import hud": (bare, IMPORT_S, f"≤ {IMPORT_S:g} s"),
        "from hud import Environment, Taskset": (
            model,
            model + OVER_PYDANTIC_S,
            f"≤ floor + {OVER_PYDANTIC_S:g} s",
        ),
        "hud --help": (bare, HELP_S, f"≤ {HELP_S:g} s"),
    }
    for name in commands:
        value, peer = found[name], found.get(PEER + name)
        floor, limit, target = targets.get(name, (None, None, None))
        over = None if floor is None else value - floor
        verdict = None if limit is None else at_most(value, limit)
        table.add(name, value, floor, over, peer, ratio(peer, value), target, verdict)
    return table


def _commands(python: Path) -> dict[str, Command]:
    script = shutil.which("hud", path=str(python.parent))
    return {
        "python -c pass": (python, "-c", "pass"),
        "import pydantic, one model": (python, "-c", MODEL),
        "import hud": (python, "-c", "import hud"),
        "from hud import Environment, Taskset": (
            python,
            "-c",
            "from hud import Environment, Taskset",
        ),
        "hud --help": (script, "--help") if script else (python, "-m", "hud", "--help"),
        "hud version": (script, "version") if script else (python, "-m", "hud", "version"),
    }


def _timed(command: Command, *, is_peer: bool) -> Callable[[], float]:
    return lambda: run(command, python_path=not is_peer).wall_s


def _works(name: str, timed: Callable[[], float]) -> bool:
    """Run it once: the first run compiles modules, and a peer's command may not work at all.

    Raises:
        BenchmarkFailed: when it is ours that does not work.
    """
    try:
        timed()
    except BenchmarkFailed as failure:
        if not name.startswith(PEER):
            raise
        print(f"left out: {name} fails: {str(failure).splitlines()[-1]}", file=sys.stderr)
        return False
    return True
