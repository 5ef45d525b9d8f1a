"""What runs, lies or is held because of a test: counted before a fault, at it, and after it.

Everything that a test starts carries its mark in the environment, or descends from what does, and
has the test's own folder for temporary files, so that whatever else the machine does is not
counted. Engines, clusters and platforms are asked by functions that the tests bring.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hud._core.processes import descendants_of, find_marked, identity_of
from hud.sandbox.cgroup_places import find_places

MARK = "HUD_TEST_MARK"
LIMIT_S = 60.0
"""Within this everything has to be gone, by a watchdog or by the next command."""

_ONE = {"processes": "process"}

Counted = Mapping[str, frozenset[str]]
Count = Callable[[], Iterable[str]]


class Census:
    """Counts what belongs to one test.

    Attributes:
        mark: The value of `MARK` in what is started.
        folder: What `TMPDIR` is for it.
        counts: What else is counted, by its name: containers, pods, leases.
    """

    def __init__(self, mark: str, folder: Path) -> None:
        self.mark = mark
        self.folder = folder
        self.counts: dict[str, Count] = {}
        self._owners = {os.getpid()}
        self._known: set[str] = set()

    def remember(self, pid: int) -> None:
        """Keep in mind a process and what is below it, to know them when it is gone."""
        self._owners.add(pid)
        for one in {pid, *descendants_of(pid)} - {os.getpid()}:
            identity = identity_of(one)
            if identity is not None:
                self._known.add(identity)

    def take(self) -> Counted:
        """Count."""
        found = {
            "processes": self._processes(),
            "files": self._files(),
            "sockets": self._sockets(),
            "mounts": self._mounts(),
            "control groups": self._groups(),
        }
        for name, count in self.counts.items():
            found[name] = frozenset(count())
        return found

    def left(self, before: Counted) -> Counted:
        """Return what is there now and was not before; empty when that is nothing."""
        now = self.take()
        found = {name: now[name] - before.get(name, frozenset()) for name in now}
        return {name: names for name, names in found.items() if names}

    def wait_until(
        self, before: Counted, only: Iterable[str] | None = None, limit_s: float = LIMIT_S
    ) -> tuple[float, Counted]:
        """Wait until nothing is there that was not before; return the seconds, and what is left.

        Args:
            before: What was there.
            only: Of these kinds; of all when left out.
            limit_s: How long to wait.
        """
        began = time.monotonic()
        while left := _of(self.left(before), only):
            if time.monotonic() - began > limit_s:
                return limit_s, left
            time.sleep(0.02)
        return time.monotonic() - began, {}

    def _processes(self) -> frozenset[str]:
        own = {os.getpid(), *_threads_of_own()}
        marked = [pid for pid in find_marked(MARK, self.mark) if pid not in own]
        for pid in marked:
            self.remember(pid)
        return frozenset(identity for identity in self._known if _is_alive(identity))

    def _files(self) -> frozenset[str]:
        return frozenset(str(path) for path in self.folder.glob("*"))

    def _sockets(self) -> frozenset[str]:
        lines = Path("/proc/net/unix").read_text().splitlines()
        paths = [line.split()[-1] for line in lines[1:]]
        return frozenset(path for path in paths if path.startswith(f"{self.folder}/"))

    def _mounts(self) -> frozenset[str]:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        points = [line.split()[1] for line in lines]
        return frozenset(point for point in points if point.startswith(f"{self.folder}/"))

    def _groups(self) -> frozenset[str]:
        """Return the control groups whose names say that one of our processes made them."""
        found: set[str] = set()
        for place in find_places():
            for entry in place.folder.glob("hud.*"):
                owner = entry.name.split(".")[2]
                if owner.isdigit() and int(owner) in self._owners:
                    found.add(str(entry))
        return frozenset(found)


def _of(counted: Counted, only: Iterable[str] | None) -> Counted:
    return counted if only is None else {one: counted[one] for one in only if one in counted}


def total(counted: Counted) -> int:
    """Return how many there are of everything."""
    return sum(len(names) for names in counted.values())


def spelled(counted: Counted) -> str:
    """Say how many there are of what, for people."""
    parts = [
        f"{len(names)} {_ONE.get(name, name.removesuffix('s')) if len(names) == 1 else name}"
        for name, names in counted.items()
        if names
    ]
    return ", ".join(parts) or "0"


def named(word: str) -> list[int]:
    """Return the processes that call themselves so, wherever they are walled in."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text("utf-8", "replace").strip() == word:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _is_alive(identity: str) -> bool:
    return identity_of(int(identity.partition(":")[0])) == identity


def _threads_of_own() -> list[int]:
    return [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
