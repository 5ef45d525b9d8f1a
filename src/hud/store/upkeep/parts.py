"""What a store is made of, for whoever looks after it rather than uses it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Generator
from pathlib import Path

from hud._core.errors import InputError
from hud.store.base import Store
from hud.store.sql_store import SqlStore

Progress = Callable[[int, int], None]
"""Told how many of how many are done, from the thread that works."""


def parts_of(store: Store) -> SqlStore:
    """Return `store` as what it is.

    Raises:
        InputError: when it is of another kind than `open_store` opens.
    """
    if not isinstance(store, SqlStore):
        raise InputError(f"a {type(store).__name__} looks after itself")
    return store


@contextlib.contextmanager
def alone(home: Path) -> Generator[None]:
    """Keep other upkeep of the store in `home` waiting while the block runs."""
    descriptor = os.open(home / "upkeep.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
