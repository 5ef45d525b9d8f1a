"""Names of temporary folders that say whose they are, and removing those of owners that are gone.

An owner that was killed could not remove them itself. Who makes a folder removes it otherwise.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import re
import stat
import tempfile
import zlib
from pathlib import Path

from hud._core import processes
from hud.sandbox import files

logger = logging.getLogger(__name__)

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_NAME = re.compile(r"hud-[a-z]+-([0-9a-z]+)\.([0-9a-z]+)\.([0-9a-z]+)-\w+", re.ASCII)
# As much of a namespace's number as tells one from another, because names must be short: sockets
# lie in these folders, and the paths of sockets may have 107 bytes.
_NAMESPACES = 36**5
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")
_numbers = itertools.count()


def prefix_of(kind: str) -> str:
    """Return how a new folder's name begins: what it is, and which process has it.

    Args:
        kind: Lower-case letters.
    """
    return f"hud-{kind}-{_owner(os.getpid())}-"


def make(kind: str) -> Path:
    """Make a folder that only this user can enter."""
    top, prefix = Path(tempfile.gettempdir()), prefix_of(kind)
    while True:
        path = top / f"{prefix}{_short(next(_numbers))}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(0o700)
            return path


def sweep() -> int:
    """Remove the folders of processes that are gone; return how many there were.

    What cannot be removed, another user's for one, stays. Takes as long as it takes: not for the
    event loop.
    """
    removed = 0
    top = Path(tempfile.gettempdir())
    try:
        names = [name for name in os.listdir(top) if name.startswith("hud-")]  # noqa: PTH208
    except OSError:
        return 0
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or match[1] != _short(_namespace()) or _is_there(match[2], match[3]):
            continue
        with contextlib.suppress(OSError):
            found = (top / name).lstat()
            # Another user could put something else in its place while it is removed.
            if stat.S_ISDIR(found.st_mode) and os.geteuid() in (0, found.st_uid):
                files.remove_tree(top / name)
                removed += 1
    return removed


@functools.cache
def sweep_once() -> int:
    """Sweep, once in the life of this process: who makes many folders need not look each time."""
    return sweep()


def _owner(pid: int) -> str:
    return f"{_short(_namespace())}.{_short(pid)}.{_short(_start_of(pid) or 0)}"


def _is_there(pid: str, start: str) -> bool:
    """Whether the process is, or cannot be told not to be."""
    number = int(pid, 36)
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return _start_of(number) in (None, int(start, 36))


def _short(number: int) -> str:
    """Write a number with few characters."""
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits


def _start_of(pid: int) -> int | None:
    identity = processes.identity_of(pid)
    return None if identity is None else int(identity.partition(":")[2])


def _namespace() -> int:
    """Tell this process's pids from equal ones of another container or machine with that folder."""
    try:
        boot = _BOOT.read_bytes()
        return zlib.crc32(boot + str(_NAMESPACE.stat().st_ino).encode()) % _NAMESPACES
    except OSError:
        return 0
