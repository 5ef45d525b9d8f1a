"""One measured size of a rollout table: its throughput and CPU, and its memory in flight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import program

FEW = 50


@dataclass(frozen=True, slots=True)
class Rate:
    """Rollouts a second and CPU seconds per rollout, of one program."""

    per_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Load:
    """One program and its work, with the peer's interpreter when it is the peer that works."""

    program: str
    work: Mapping[str, Any]
    peer: Path | None = None


def rates(times: int, loads: Mapping[str, Load]) -> dict[str, Rate]:
    """Run every load `times` times, in turn, and return the rate of each one's median run.

    In turn, so that what is to be compared meets the same moments of a machine that is never
    quite idle.
    """
    found: dict[str, list[Rate]] = {name: [] for name in loads}
    for _ in range(times):
        for name, load in loads.items():
            data = program(load.program, load.work, peer=load.peer).data
            rollouts = int(load.work["rollouts"])
            found[name].append(Rate(rollouts / data["wall_s"], data["cpu_s"] / rollouts))
    return {name: sorted(runs, key=_speed)[len(runs) // 2] for name, runs in found.items()}


def _speed(rate: Rate) -> float:
    return rate.per_s


@dataclass(frozen=True, slots=True)
class Held:
    """Memory of a process tree while a number of rollouts were in flight at once.

    Attributes:
        tree_bytes: The whole tree's, when the last agent had been called.
        each_bytes: What that is more than before the job, by the number of rollouts; None for so
            few that it says nothing.
    """

    tree_bytes: int
    each_bytes: float | None


def held(place: str, count: int, *, peer: Path | None = None) -> Held:
    """Hold `count` rollouts in flight and return what they take."""
    work = {"place": place, "rollouts": count, "concurrent": count, "hold": True}
    data = program("rollouts", work, peer=peer).data
    each = (data["held_bytes"] - data["idle_bytes"]) / count
    return Held(data["held_bytes"], each if count >= FEW else None)
