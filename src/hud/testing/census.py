"""What this process holds at one moment, so that a conformance check can tell what was left behind.

Counts open descriptors, tasks of the running loop and, when asked to, processes below this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hud._core.errors import bounded
from hud._core.processes import descendants_of

SETTLE_S = 15.0
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Census:
    """A count, to be compared with what is held later.

    Attributes:
        descriptors: What is open, by its number; empty where it cannot be seen.
        processes: How many live below this one; None where they are not counted.
        settle_s: How long what is being closed may take to be gone.
    """

    descriptors: Mapping[str, str]
    tasks: int
    processes: int | None
    settle_s: float

    @classmethod
    def take(cls, settle_s: float = SETTLE_S, *, with_processes: bool) -> Census:
        """Count what is held now."""
        processes = len(descendants_of(os.getpid())) if with_processes else None
        return cls(_open_descriptors(), len(asyncio.all_tasks()), processes, settle_s)

    async def settle(self, when: str) -> None:
        """Wait until nothing more is held than at the time of this census.

        Raises:
            AssertionError: when that does not come true; it names what was left, and `when`.
        """
        deadline = asyncio.get_running_loop().time() + self.settle_s
        while leaks := self._leaks():
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_POLL_S)
        assert not leaks, f"{when}, {leaks} left behind"

    def _leaks(self) -> str:
        now = Census.take(with_processes=self.processes is not None)
        found = {
            _named(self.descriptors, now.descriptors): len(now.descriptors) - len(self.descriptors),
            "tasks": now.tasks - self.tasks,
            "processes": (now.processes or 0) - (self.processes or 0),
        }
        return ", ".join(f"{more} {what}" for what, more in found.items() if more > 0)


def _open_descriptors() -> dict[str, str]:
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/dev/fd"):  # noqa: PTH208 -- one name is the listing itself
            found[name] = "?"
            with contextlib.suppress(OSError):
                found[name] = str(Path("/dev/fd", name).readlink())
    return found


def _named(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    fresh = [now[number] for number in now if before.get(number) != now[number]]
    return f"open descriptors ({bounded(', '.join(sorted(fresh)), 300)})"
