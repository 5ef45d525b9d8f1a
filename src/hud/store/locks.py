"""Who is working on a job right now: a lock of the operating system, gone with its process.

One file holds the locks of all jobs, a byte per job. The kernel keeps them per process: they end
with it however it dies, a forked child does not inherit them, and anybody can ask who holds one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import threading
from collections.abc import Generator
from pathlib import Path

from hud._core.errors import InputError, StoreError
from hud.store.errors import store_error

# `struct flock` of the two families of systems: 64-bit offsets either way.
_FLOCK = "qqihh" if sys.platform == "darwin" else "hhqqi"
_guard = threading.Lock()
# Closing any descriptor of a file drops this process's locks on it, so each stays open.
_descriptors: dict[Path, int] = {}
_held: set[tuple[Path, int]] = set()


@contextlib.contextmanager
def lock_job(home: Path, job_id: str) -> Generator[None]:
    """Hold the job `job_id` of the store in `home` while the block runs.

    Raises:
        InputError: when another process, or this one, holds it already.
        StoreError: when the lock file cannot be made.
    """
    path, offset = _path(home), _offset(job_id)
    key = (path, offset)
    with _guard:
        descriptor = _open(path)
        if key in _held:
            raise _refusal(job_id, os.getpid())
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except (BlockingIOError, PermissionError):
            raise _refusal(job_id, _holder(descriptor, offset)) from None
        except OSError as error:
            raise store_error(error, path) from error
        _held.add(key)
    try:
        yield
    finally:
        with _guard:
            if key in _held:  # not so in a forked child, which holds nothing
                _held.discard(key)
                fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, offset)


def job_holder(home: Path, job_id: str) -> int | None:
    """Return the id of the process that works on `job_id`, None when nobody does."""
    path, offset = _path(home), _offset(job_id)
    with _guard:
        if (path, offset) in _held:
            return os.getpid()
        if path not in _descriptors and not path.exists():
            return None
        try:
            return _holder(_open(path), offset)
        except StoreError:
            return None  # nobody can hold what cannot be opened for writing


def _path(home: Path) -> Path:
    return home.resolve() / "jobs.lock"


def _offset(job_id: str) -> int:
    return int(job_id[-15:], 16)


def _open(path: Path) -> int:
    descriptor = _descriptors.get(path)
    if descriptor is not None:
        try:
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass  # the folder was removed and perhaps made again
        os.close(descriptor)
        del _descriptors[path]
        _held.difference_update([key for key in _held if key[0] == path])
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise store_error(error, path) from error
    _descriptors[path] = descriptor
    return descriptor


def _holder(descriptor: int, offset: int) -> int | None:
    if sys.platform == "darwin":
        asked = struct.pack(_FLOCK, offset, 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
        answer = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        kind, pid = answer[3], answer[2]
    else:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
        answer = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        kind, pid = answer[0], answer[4]
    return None if kind == fcntl.F_UNLCK else int(pid)


def _refusal(job_id: str, pid: int | None) -> InputError:
    who = "another process" if pid is None else f"process {pid}"
    return InputError(
        f"job {job_id} is being worked on by {who}",
        hint="wait until it ends, or stop it, then try again",
    )


def _after_fork() -> None:
    global _guard  # noqa: PLW0603 -- another thread of the parent may have held it
    _guard = threading.Lock()
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)
