"""Robots: what driving gym-pusht through a run keeps of the simulator's own speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.measure import BenchmarkFailed, Setting, medians, program
from benchmarks.tables import Column, Table, at_least

ABOUT = (
    "Steps per second of gym-pusht with 96×96 pixels, an action and its observation a step. `gym` "
    "is the loop on the simulation itself; `vector of {slots}` the same on "
    "`gymnasium.make_vec`, counted per slot. `websocket` is the simulation behind a bare WebSocket "
    "server and two bare relays, one of them in a process of its own. The runs go through "
    "`RobotClient`, the tunnel and the simulator's own process; states, actions and rewards of "
    "every step are recorded, video is not. All are measured in turn, so that a busy moment "
    "hits each alike. `of bare` compares with the loop of as many slots."
)
SLOTS = 8
ONE, MANY = 0.60, 0.75


def measure(setting: Setting) -> Table:
    try:
        import gym_pusht  # noqa: F401 # pyright: ignore[reportMissingTypeStubs, reportUnusedImport]
    except ModuleNotFoundError as error:
        raise BenchmarkFailed("gym-pusht is not installed: pip install gym-pusht") from error
    table = Table(
        "robot",
        "Robot loop",
        ABOUT.format(slots=SLOTS),
        (
            Column("what"),
            Column("slots", "d"),
            Column("steps/s", ",.0f"),
            Column("of bare", ".0%"),
            Column("target"),
            Column("verdict"),
        ),
    )
    steps = 250 if setting.quick else 1_000
    many = {"slots": SLOTS, "steps": 250 if setting.quick else 500}
    found = medians(
        setting.repeats(5),
        {
            "gym": _rate({"way": "bare", "steps": steps}),
            "websocket": _rate({"way": "socket", "steps": steps}),
            "LocalRuntime": _rate({"way": "local", "steps": steps}),
            "SubprocessRuntime": _rate({"way": "subprocess", "steps": steps}),
            "vector": _rate({"way": "vector", **many}),
            "shared": _rate({"way": "local", **many}),
        },
    )
    bare, vector = found["gym"], found["vector"]
    table.add("gym", 1, bare, 1.0, None, None)
    table.add("websocket", 1, found["websocket"], found["websocket"] / bare, None, None)
    for name in ("LocalRuntime", "SubprocessRuntime"):
        kept = found[name] / bare
        table.add(f"hud, {name}", 1, found[name], kept, f">= {ONE:.0%}", at_least(kept, ONE))
    table.add(f"vector of {SLOTS}", SLOTS, vector, 1.0, None, None)
    kept = found["shared"] / vector
    table.add(
        "hud, one environment",
        SLOTS,
        found["shared"],
        kept,
        f">= {MANY:.0%}",
        at_least(kept, MANY),
    )
    return table


def _rate(work: dict[str, Any]) -> Callable[[], float]:
    return lambda: float(program("robots", work).data["per_s"])


def main() -> None:
    """Print the table alone: `python -m benchmarks.robot [--quick]`."""
    import sys
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        print(measure(Setting("--quick" in sys.argv, None, Path(folder))).as_text())


if __name__ == "__main__":
    main()
