"""Addresses of Unix sockets in folders that somebody else writes to as well.

A path is looked up here, on this machine, so a link that a container puts in its socket's place
would lead to any other socket of this machine: its container engine's, for one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator

_ITSELF = getattr(os, "O_PATH", 0) | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def socket_itself(path: str) -> Generator[str]:
    """Yield an address of the socket that is at `path` now, which holds while the block runs.

    Raises:
        OSError: when there is none, or a link.
    """
    if not hasattr(os, "O_PATH"):
        _check(os.lstat(path), path)
        yield path
        return
    descriptor = os.open(path, _ITSELF)
    try:
        _check(os.fstat(descriptor), path)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _check(found: os.stat_result, path: str) -> None:
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.ENOTSOCK, "what is there is no socket", path)
