"""One control group around a sandbox: limits on memory, processors and processes, and a kill.

Works with version 1, version 2 and both at once; where a machine offers none of it there is no
group, and what is not in `applied` is not enforced here. Everything in this module may block for
moments; `kill` and `remove` for as long as they are told. Run them in a thread.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from hud.sandbox.cgroup_places import UNIFIED, Place, find_places

logger = logging.getLogger(__name__)

_PERIOD_US = 100_000
_MIN_QUOTA_US = 1_000
_PAUSE_S = 0.01
_SWEEP_S = 1.0
_READ_AT_MOST = 1 << 22
_GIVEN_NAME = re.compile(r"[\w-]{1,100}", re.ASCII)
_NAME = re.compile(r"hud\.(\d+)\.(\d+)\.(\d+)\.\d+\.[\w-]{1,100}", re.ASCII)
_number = itertools.count()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a group uses and has used; None for what nobody counts.

    Attributes:
        memory_peak_bytes: The most it ever used at once.
        cpu_s: Processor time so far, in seconds.
    """

    memory_bytes: int | None
    memory_peak_bytes: int | None
    cpu_s: float | None
    pids: int | None


class Cgroup:
    """A group of processes that live and die together. Who creates it calls `remove`.

    Attributes:
        applied: Which limits the kernel has accepted: "memory", "swap", "cpu", "pids".
    """

    def __init__(self, name: str, folders: dict[str, Path], v2: frozenset[str]) -> None:
        self.name = name
        self.applied: set[str] = set()
        self._folders = folders
        self._v2 = v2
        self._all = list(dict.fromkeys(folders.values()))

    @classmethod
    def create(
        cls,
        name: str,
        *,
        memory_bytes: int | None = None,
        cpus: float | None = None,
        pids: int | None = None,
        places: list[Place] | None = None,
    ) -> Cgroup | None:
        """Make a group with these limits, or as many of them as this machine can; None for none.

        Groups that a dead process left behind are ended first. Never raises for want of anything.

        Args:
            name: For people to read: letters, digits, dashes. Need not be unique.
            memory_bytes: Memory and swap together, tmpfs included.
            cpus: Processors' worth of time, fractions allowed.
            pids: Processes and threads.
            places: Where to make it; found by itself when None.
        """
        if _GIVEN_NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name for a control group")
        owner = f"{_pid_namespace()}.{os.getpid()}.{_start_of(os.getpid())}"
        full_name = f"hud.{owner}.{next(_number)}.{name}"
        folders: dict[str, Path] = {}
        v2: set[str] = set()
        for place in find_places() if places is None else places:
            _sweep(place)
            folder = place.folder / full_name
            try:
                folder.mkdir()
            except OSError as error:
                logger.debug("no control group %s: %s", folder, error)
                continue
            for controller in place.controllers:
                folders[controller] = folder
                if place.is_v2:
                    v2.add(controller)
        if not folders:
            return None
        group = cls(full_name, folders, frozenset(v2))
        group._limit_memory(memory_bytes)
        group._limit_cpu(cpus)
        if pids is not None and group._write("pids", "pids.max", str(pids)):
            group.applied.add("pids")
        return group

    def add(self, pid: int) -> bool:
        """Put a process in, and with it all it will start; say whether it is in everywhere."""
        done = True
        for folder in self._all:
            try:
                (folder / "cgroup.procs").write_text(str(pid))
            except OSError as error:
                logger.warning("process %d does not enter %s: %s", pid, folder, error)
                done = False
        return done

    def usage(self) -> Usage:
        """Return what the group uses now."""
        cpu_s = None
        if "cpu" in self._v2:
            micros = self._counter("cpu", "cpu.stat", "usage_usec")
            cpu_s = None if micros is None else micros / 1e6
        elif "cpuacct" in self._folders:
            nanos = self._number("cpuacct", "cpuacct.usage")
            cpu_s = None if nanos is None else nanos / 1e9
        names = (
            ("memory.current", "memory.peak")
            if "memory" in self._v2
            else ("memory.usage_in_bytes", "memory.max_usage_in_bytes")
        )
        return Usage(
            memory_bytes=self._number("memory", names[0]),
            memory_peak_bytes=self._number("memory", names[1]),
            cpu_s=cpu_s,
            pids=self._number("pids", "pids.current"),
        )

    def has_room(self, processes: int) -> bool:
        """Whether so many more processes fit below the limit; True where there is none."""
        limit, held = self._number("pids", "pids.max"), self._number("pids", "pids.current")
        return limit is None or held is None or held + processes <= limit

    def oom_kills(self) -> int:
        """Return how many processes the memory limit has killed."""
        name = "memory.events" if "memory" in self._v2 else "memory.oom_control"
        return self._counter("memory", name, "oom_kill") or 0

    def refused_forks(self) -> int:
        """Return how often the limit on processes kept one from being started."""
        return self._counter("pids", "pids.events", "max") or 0

    def pids(self) -> list[int]:
        """Return the processes in it, those of groups below included."""
        found: set[int] = set()
        for folder in self._all:
            found |= _pids_below(folder)
        return sorted(found)

    def kill(self, timeout_s: float = 5.0) -> bool:
        """Kill every process in it, those it starts meanwhile too; say whether none is left."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._kill_once()
            # A frozen process of version 1 takes its signals once it is thawed.
            self._set_frozen(False)
            if not self.pids():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_S)

    def remove(self, timeout_s: float = 5.0) -> bool:
        """Wait until it is empty and take it away; say whether it is gone. Kills nothing."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._all = [folder for folder in self._all if not _removed(folder)]
            if not self._all:
                return True
            if time.monotonic() > deadline:
                logger.warning("control group %s cannot be removed yet", self.name)
                return False
            time.sleep(_PAUSE_S)

    def _limit_memory(self, limit: int | None) -> None:
        if limit is None:
            return
        if "memory" in self._v2:
            memory, swap = ("memory.max", limit), ("memory.swap.max", 0)
        else:
            # Together they may never be less than memory alone, so that is set first.
            memory = ("memory.limit_in_bytes", limit)
            swap = ("memory.memsw.limit_in_bytes", limit)
        if self._write("memory", memory[0], str(memory[1])):
            self.applied.add("memory")
            if self._write("memory", swap[0], str(swap[1])):
                self.applied.add("swap")

    def _limit_cpu(self, cpus: float | None) -> None:
        if cpus is None:
            return
        quota = max(_MIN_QUOTA_US, round(cpus * _PERIOD_US))
        if "cpu" in self._v2:
            done = self._write("cpu", "cpu.max", f"{quota} {_PERIOD_US}")
        else:
            done = self._write("cpu", "cpu.cfs_period_us", str(_PERIOD_US)) and self._write(
                "cpu", "cpu.cfs_quota_us", str(quota)
            )
        if done:
            self.applied.add("cpu")

    def _set_frozen(self, frozen: bool) -> bool:
        if self._write(UNIFIED, "cgroup.freeze", str(int(frozen)), quiet=True):
            return True
        state = "FROZEN" if frozen else "THAWED"
        return self._write("freezer", "freezer.state", state, quiet=True)

    def _kill_once(self) -> None:
        if self._write(UNIFIED, "cgroup.kill", "1", quiet=True):
            # Version 1 trees beside it hold the same processes, unless one entered only there.
            if len(self._all) == 1:
                return
        else:
            self._set_frozen(True)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _write(self, controller: str, file: str, value: str, *, quiet: bool = False) -> bool:
        folder = self._folders.get(controller)
        if folder is None:
            return False
        path = folder / file
        try:
            # The kernel's files are there already; none may be made in their place.
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            if not quiet:
                logger.info("%s is not enforced: %s", path, error)
            return False
        return True

    def _number(self, controller: str, file: str) -> int | None:
        text = self._text(controller, file)
        return int(text) if text is not None and text.strip().isdigit() else None

    def _counter(self, controller: str, file: str, key: str) -> int | None:
        for line in (self._text(controller, file) or "").splitlines():
            name, _, value = line.partition(" ")
            if name == key and value.strip().isdigit():
                return int(value)
        return None

    def _text(self, controller: str, file: str) -> str | None:
        folder = self._folders.get(controller)
        if folder is None:
            return None
        try:
            return _read(folder / file)
        except OSError:
            return None


def sweep() -> None:
    """End the groups of owners that are dead, wherever this process may make some. Blocks."""
    for place in find_places():
        _sweep(place)


def _sweep(place: Place) -> None:
    """End the groups in a place whose owner is dead, for at most a moment each."""
    namespace = str(_pid_namespace())
    try:
        entries = [entry for entry in place.folder.iterdir() if entry.name.startswith("hud.")]
    except OSError:
        return
    for entry in entries:
        match = _NAME.fullmatch(entry.name)
        if match is None or match[1] != namespace:
            continue
        if not _is_gone(int(match[2]), int(match[3])):
            continue
        controllers = dict.fromkeys(place.controllers, entry)
        v2 = place.controllers if place.is_v2 else frozenset[str]()
        left = Cgroup(entry.name, controllers, v2)
        if not left.kill(_SWEEP_S) or not left.remove(_SWEEP_S):
            logger.info("control group %s of a dead process stays behind", entry)


def _removed(folder: Path) -> bool:
    """Remove a group and the groups below it; say whether it is gone."""
    try:
        for below in [entry for entry in folder.iterdir() if entry.is_dir()]:
            _removed(below)
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _pids_below(folder: Path) -> set[int]:
    found: set[int] = set()
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            # 0 stands for a process that this one's pid namespace does not show.
            found |= {int(word) for word in _read(Path(path) / "cgroup.procs").split()} - {0}
    return found


def _pid_namespace() -> int:
    """Tell this process's pids from equal ones of another container."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _is_gone(pid: int, start: int) -> bool:
    """Whether the process with this pid and start is surely no more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return _start_of(pid) not in (start, -1)


def _start_of(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; -1 when there is none."""
    try:
        text = _read(Path("/proc") / str(pid) / "stat")
    except OSError:
        return -1
    return int(text.rpartition(")")[2].split()[19])


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_READ_AT_MOST).decode("utf-8", "replace")
