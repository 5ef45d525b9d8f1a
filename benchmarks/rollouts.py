"""One measured size of a rollout table: its throughput and CPU, and its memory in flight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import median_run, program

WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Rate:
    """Rollouts a second and CPU seconds per rollout, of one program."""

    per_s: float
    cpu_s: float


def rate(name: str, work: Mapping[str, Any], *, times: int, peer: Path | None = None) -> Rate:
    """Run a program several times and return the median run's rate."""
    cost = median_run(
        times,
        lambda: program(name, work, peer=peer),
        key=lambda cost: float(cost.data["wall_s"]),
    )
    rollouts = int(work["rollouts"])
    return Rate(rollouts / cost.data["wall_s"], cost.data["cpu_s"] / rollouts)


def held_bytes(place: str, count: int, *, peer: Path | None = None) -> float:
    """Return the memory each of `count` rollouts takes while all of them are in flight.

    Memory of the whole tree at the moment the last agent has been called, less what it was before
    the job, by the number of rollouts.
    """
    work = {"place": place, "rollouts": count, "concurrent": count, "hold": True}
    data = program("rollouts", {**work, "warm_up": WARM_UP}, peer=peer).data
    return (data["held_bytes"] - data["idle_bytes"]) / count
