"""Whether a process that imported a source may be forked: what a fork would break or share.

Each check returns a clause that continues "<file> …". Run in the warm parent, after the import.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

_SETTLE_S = 0.2
_SETTLE_STEP_S = 0.005
_SQLITE_MAGIC = b"SQLite format 3\0"


def why_unsafe(own_fds: Collection[int]) -> str | None:
    """Return why this process must not be forked, or None when it may be.

    Args:
        own_fds: Descriptors that are not the source's.
    """
    checks: tuple[Callable[[], str | None], ...] = (
        _python_threads,
        _native_threads,
        _sqlite_connections,
        lambda: _shared_descriptors(own_fds),
        _accelerator,
    )
    return next((reason for check in checks if (reason := check()) is not None), None)


def _python_threads() -> str | None:
    main = threading.main_thread()
    alive = [thread for thread in threading.enumerate() if thread is not main]
    if not alive:
        return None
    names = ", ".join(sorted(thread.name for thread in alive)[:3])
    return f"started {_count(len(alive), 'thread')} at import ({names})"


def _native_threads() -> str | None:
    """Count threads Python does not know, after a fork that lets libraries end theirs.

    OpenBLAS and others stop their idle workers around a fork and start them again when needed.
    """
    if len(_tasks()) == 1:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + _SETTLE_S
    while len(tasks := _tasks()) > 1:
        if time.monotonic() > deadline:
            others = [name for tid, name in tasks.items() if tid != os.getpid()]
            names = ", ".join(sorted(set(others))[:3])
            return f"started {_count(len(others), 'native thread')} at import ({names})"
        time.sleep(_SETTLE_STEP_S)
    return None


def _tasks() -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in Path("/proc/self/task").iterdir():
        try:
            found[int(entry.name)] = (entry / "comm").read_text("utf-8", "replace").strip()
        except OSError:
            continue
    return found


def _sqlite_connections() -> str | None:
    """Find open SQLite databases in files: their locks and caches do not survive a fork."""
    sqlite3: Any = sys.modules.get("sqlite3")
    if sqlite3 is None:
        return None
    for held in gc.get_objects():
        if not issubclass(type(held), sqlite3.Connection):
            continue
        try:
            rows = held.execute("PRAGMA database_list").fetchall()
        except sqlite3.Error:
            continue  # closed, or of a thread that is gone
        for row in rows:
            if row[2]:
                return f"opened the SQLite database {Path(str(row[2])).name} at import"
    return None


def _shared_descriptors(own_fds: Collection[int]) -> str | None:
    for entry in Path("/proc/self/fd").iterdir():
        fd = int(entry.name)
        if fd <= 2 or fd in own_fds:
            continue
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:"):
            peer = _peer(fd)
            if peer is not None:
                return f"left a connection to {peer} open at import"
        elif target.startswith("/") and _is_sqlite(fd):
            return f"opened the SQLite database {Path(target).name} at import"
    return None


def _peer(fd: int) -> str | None:
    """Return whom a socket is connected to, or None for one that shares nothing outside."""
    try:
        with socket.socket(fileno=os.dup(fd)) as held:
            peer: Any = held.getpeername()
    except OSError:
        return None
    if isinstance(peer, tuple):
        return f"{peer[0]}:{peer[1]}"
    name = os.fsdecode(peer) if isinstance(peer, bytes | str) else ""
    return name or None


def _is_sqlite(fd: int) -> bool:
    """Look at a file through its own descriptor: opening it again and closing drops its locks."""
    try:
        return os.pread(fd, len(_SQLITE_MAGIC), 0) == _SQLITE_MAGIC
    except OSError:
        return False


def _accelerator() -> str | None:
    torch: Any = sys.modules.get("torch")
    cuda: Any = getattr(torch, "cuda", None)
    if cuda is not None and cuda.is_initialized():
        return "initialised CUDA at import"
    return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
