"""Which uid a sandbox runs as on the host.

As root every sandbox gets a uid of its own for as long as it lives, so that no two can touch each
other's files or processes; anybody else's sandboxes run as that user, and namespaces separate them.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket

from hud._core.errors import CapabilityFault

# Above what systems give to people and services, below what user namespaces are given.
FIRST_UID = 59_000
LAST_UID = 60_999


class Identity:
    """A uid and gid, held against other sandboxes of this machine until `release`."""

    def __init__(self, uid: int, gid: int, lock: socket.socket | None = None) -> None:
        self.uid = uid
        self.gid = gid
        self._lock = lock

    @property
    def is_own(self) -> bool:
        """Whether it is this process's own, because it may not take another."""
        return self.uid == os.geteuid()

    @property
    def is_exclusive(self) -> bool:
        """Whether whatever runs as this uid belongs to one sandbox; false for a uid that was named.

        Others may run as that one: the sandbox it was first given to, graders beside each other.
        """
        return self._lock is not None

    def release(self) -> None:
        """Let others have it; nothing may run as it any more."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()


def own() -> Identity:
    """Return this process's own identity."""
    return Identity(os.geteuid(), os.getegid())


def take(uid: int | None = None, gid: int | None = None) -> Identity:
    """Return the identity asked for, or an unused one.

    Raises:
        CapabilityFault: when all are taken, or another one than this user's is asked for without
            the right to it.
    """
    if os.geteuid() != 0:
        if uid not in (None, os.geteuid()):
            raise CapabilityFault(f"a sandbox cannot run as uid {uid}: this process is not root")
        return own()
    if uid is not None:
        if uid == 0:
            raise CapabilityFault("a sandbox may not run as root", hint="leave shell_uid out")
        return Identity(uid, uid if gid is None else gid)
    candidates = list(range(FIRST_UID, LAST_UID + 1))
    random.Random(os.getpid() ^ id(candidates)).shuffle(candidates)
    for candidate in candidates:
        lock = _locked(candidate)
        if lock is not None:
            return Identity(candidate, candidate, lock)
    raise CapabilityFault(
        f"all {len(candidates)} uids for sandboxes are in use", hint="run fewer rollouts at once"
    )


def _locked(uid: int) -> socket.socket | None:
    """Take the name of a uid among abstract sockets; the kernel frees it when its holder dies."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with contextlib.suppress(OSError):
        lock.bind(f"\0hud-sandbox-uid-{uid}")
        return lock
    lock.close()
    return None
