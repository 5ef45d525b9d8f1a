"""What the kernel offers for keeping processes together: groups, adoption, dying with a parent.

Linux only where it says so; elsewhere those functions do nothing. Starting processes and waiting
for them belongs to whoever owns them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")
_SWEEP_PAUSE_S = 0.02
_CLEAN_LOOKS = 3


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send `number` to this process when the thread that started it ends (Linux).

    0 undoes it. Check `os.getppid()` afterwards: the parent may have died before the call.
    """
    _prctl(_PR_SET_PDEATHSIG, int(number))


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


@functools.cache
def _libc_prctl() -> Callable[[int, int], None]:
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).prctl

    def prctl(option: int, value: int) -> None:
        if call(option, value, 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"prctl({option}): {os.strerror(number)}")

    return prctl


def _prctl(option: int, value: int) -> None:
    if LINUX:
        _libc_prctl()(option, value)


def signal_group(group: int, number: int) -> None:
    """Send a signal to every process of a group; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def signal_process(pid: int, number: int) -> None:
    """Send a signal to a process; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def reap_one() -> tuple[int, int] | None:
    """Collect one dead child, its process group killed first, or return None.

    Returns its pid and status (the exit code, or minus the number of the signal that ended it).
    The group is killed while the dead leader still holds its number, so no other can have it.
    """
    try:
        if hasattr(os, "waitid"):
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            dead = os.waitid(os.P_ALL, 0, flags)
            if dead is None:
                return None
            signal_group(dead.si_pid, signal.SIGKILL)
            pid, status = os.waitpid(dead.si_pid, 0)
        else:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return None
            signal_group(pid, signal.SIGKILL)
    except ChildProcessError:
        return None
    return pid, os.waitstatus_to_exitcode(status)


def children() -> list[int]:
    """Return the pids of this single-threaded process's children, dead ones included (Linux)."""
    own = os.getpid()
    try:
        text = (_PROC / "self" / "task" / str(own) / "children").read_bytes()
        return [int(word) for word in text.split()]
    except OSError:
        return [pid for pid in _pids() if (stat := _stat(pid)) is not None and stat[0] == own]


def descendants_of(pid: int) -> list[int]:
    """Return the living processes below one, parents before their children (Linux)."""
    stats = {one: stat for one in _pids() if (stat := _stat(one)) is not None}
    living = {one: parent for one, (parent, state) in stats.items() if state not in "ZX"}
    found: list[int] = []
    fresh = {pid}
    while fresh:
        fresh = {one for one, parent in living.items() if parent in fresh}.difference(found)
        found += sorted(fresh)
    return found


def session_of(pid: int) -> int | None:
    """Return a process's session, or None when it is gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def find_marked(name: str, value: str) -> list[int]:
    """Return the living processes that were started with this environment variable (Linux)."""
    entry = f"{name}={value}".encode()
    found: list[int] = []
    for pid in _pids():
        try:
            environ = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            continue
        stat = _stat(pid) if entry in environ.split(b"\0") else None
        if stat is not None and stat[1] not in "ZX":
            found.append(pid)
    return found


def identity_of(pid: int) -> str | None:
    """Return what tells a process from any later one of its number, or None when it is gone.

    One that ended and was not collected by its parent yet is gone.
    """
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{pid}:{fields[19]}"


def pid_namespace() -> str:
    """Return what tells this process's pids from equal ones of another namespace (Linux)."""
    try:
        return str((_PROC / "self" / "ns" / "pid").stat().st_ino)
    except OSError:
        return ""


def label_of(pid: int) -> str:
    """Return what `kill_orphans` knows an owner by."""
    return f"{identity_of(pid) or ''}@{pid_namespace()}"


def kill_orphans(name: str, variable: str) -> int:
    """Kill the programs of this name whose owner is gone (Linux); return how many there were.

    Args:
        name: What the kernel calls the program.
        variable: Environment variable in which each was given its owner's `label_of`. Those of
            another pid namespace are left alone: their owners have other numbers here.
    """
    killed = 0
    prefix = f"{variable}=".encode()
    for pid in _pids():
        if _name_of(pid) != name:
            continue
        try:
            environ = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            continue
        for entry in environ.split(b"\0"):
            if not entry.startswith(prefix):
                continue
            owner, _, namespace = entry[len(prefix) :].decode("ascii", "replace").partition("@")
            number = owner.partition(":")[0]
            if namespace != pid_namespace() or not number.isdigit():
                continue
            if identity_of(int(number)) != owner:
                signal_process(pid, signal.SIGKILL)
                killed += 1
    return killed


def call_myself(name: str) -> None:
    """Give this process a name of at most 15 characters, by which `kill_marked` can spare it."""
    with contextlib.suppress(OSError):
        (_PROC / "self" / "comm").write_text(name)


def kill_marked(name: str, value: str, *, spared: str = "", timeout_s: float = 5.0) -> list[int]:
    """Kill every process started with this environment variable until none is left (Linux).

    Those that call themselves `spared` live on. Blocks; run it in a thread. Returns the pids that
    were still there when the time was up.
    """
    deadline = time.monotonic() + timeout_s
    own = os.getpid()
    clean_looks = 0
    while True:
        found = [pid for pid in find_marked(name, value) if pid != own]
        left = [pid for pid in found if not spared or _name_of(pid) != spared]
        # In the middle of an exec a process has no environment to be known by: look once more.
        clean_looks = 0 if left else clean_looks + 1
        if clean_looks == _CLEAN_LOOKS or time.monotonic() > deadline:
            return left
        for pid in left:
            signal_process(pid, signal.SIGKILL)
        time.sleep(_SWEEP_PAUSE_S)


def _name_of(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def describe_exit(pid: int, status: int) -> str:
    """Say in words how a process ended, from a status as `reap_one` gives it."""
    if status >= 0:
        return f"process {pid} exited with status {status}"
    try:
        name = f" ({signal.Signals(-status).name})"
    except ValueError:
        name = ""
    return f"process {pid} was killed by signal {-status}{name}"


def _pids() -> list[int]:
    try:
        return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _stat(pid: int) -> tuple[int, str] | None:
    """Return a process's parent and state letter; the name before them may hold anything."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    state, parent = text.rpartition(")")[2].split()[:2]
    return int(parent), state
