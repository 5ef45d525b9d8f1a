"""One clear sentence for everything SQLite or the file system can do to a store."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from hud._core.errors import StoreError, bounded

_ELSEWHERE = "or set HUD_HOME to another folder"


def store_error(error: BaseException, path: Path) -> StoreError:
    """Return the `StoreError` that says what `error` means for the store at `path`.

    The caller raises it `from error`.
    """
    if isinstance(error, StoreError):
        return error
    where = bounded(str(path), 300)
    if isinstance(error, sqlite3.Error):
        return _sqlite_error(error, where)
    if isinstance(error, OSError):
        return _os_error(error, where)
    return StoreError(f"the store {where} failed: {bounded(str(error), 300)}")


def _sqlite_error(error: sqlite3.Error, where: str) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None)
    match code & 0xFF if isinstance(code, int) else None:
        case sqlite3.SQLITE_FULL:
            return disk_full(where)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return StoreError(
                f"the store {where} is read-only",
                hint=f"make the file and its folder writable for this user, {_ELSEWHERE}",
            )
        case sqlite3.SQLITE_CANTOPEN:
            return StoreError(
                f"the store {where} cannot be opened",
                hint=f"check that its folder exists and belongs to this user, {_ELSEWHERE}",
            )
        case sqlite3.SQLITE_CORRUPT:
            return StoreError(
                f"the store {where} is damaged: {bounded(str(error), 120)}",
                hint=f"move it away (with its -wal and -shm files), {_ELSEWHERE}",
            )
        case sqlite3.SQLITE_NOTADB:
            return StoreError(
                f"{where} is not a store: the file is not a SQLite database",
                hint=f"move it away, {_ELSEWHERE}",
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(
                f"the store {where} stayed locked by another process",
                hint="end the process that holds it (a backup, a database browser), then try again",
            )
        case sqlite3.SQLITE_IOERR:
            return StoreError(
                f"the disk under the store {where} failed: {bounded(str(error), 120)}",
                hint=f"check the disk, {_ELSEWHERE}",
            )
        case _:
            return StoreError(f"the store {where} failed: {bounded(str(error), 300)}")


def _os_error(error: OSError, where: str) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(where)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(
            f"the store {where} is read-only or belongs to somebody else",
            hint=f"make the file and its folder writable for this user, {_ELSEWHERE}",
        )
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
        return StoreError(f"{where} is not a store", hint=f"move it away, {_ELSEWHERE}")
    return StoreError(f"the store {where} failed: {error.strerror or error}")


def disk_full(where: str) -> StoreError:
    """Return the error of a full disk."""
    return StoreError(
        f"the disk under the store {where} is full; what is not yet written is kept in memory",
        hint="free some space, then try again",
    )
