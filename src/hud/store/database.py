"""Opening the SQLite file of a store: made when missing, migrated when old, refused when newer."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Generator
from pathlib import Path

from hud._core.errors import StoreError, bounded
from hud.store.ddl_sqlite import REVISIONS, STAMP, STATEMENTS
from hud.store.errors import store_error

FILE_NAME = "hud.db"
BUSY_TIMEOUT_S = 30.0
_CHECKPOINT_PAGES = 4000


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to the existing file `path`, in autocommit, for one thread at a time.

    Raises:
        sqlite3.Error: when it cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=32,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: past the drive's own cache
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA cache_size = -16000")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def prepare(home: Path, *, create: bool) -> Path:
    """Make sure that `home` holds a database of the current revision, and return its path.

    Args:
        home: An existing folder.
        create: Make the database when there is none, and insist that it can be written.

    Raises:
        StoreError: when it cannot be used, with the reason.
    """
    path = home / FILE_NAME
    try:
        if not path.exists():
            if not create:
                raise StoreError(
                    f"there is no store in {bounded(str(home), 300)} yet",
                    hint="record something with `hud eval`, or set HUD_HOME",
                )
            with _alone(home):
                _create_file(path)
        if create and not os.access(path, os.W_OK):
            raise StoreError(
                f"the store {bounded(str(path), 300)} is read-only",
                hint="make the file and its folder writable for this user, "
                "or set HUD_HOME to another folder",
            )
        if read_revision(path) != REVISIONS[-1]:
            with _alone(home):
                _bring_up(path)
    except (OSError, sqlite3.Error) as error:
        raise store_error(error, path) from error
    return path


def find_revision(home: Path) -> str | None:
    """Return the revision of the database in `home`, None when there is none, or an empty one.

    Raises:
        StoreError: when it cannot be read, or is a database of something else.
    """
    path = home / FILE_NAME
    try:
        return read_revision(path) if path.exists() else None
    except (OSError, sqlite3.Error) as error:
        raise store_error(error, path) from error


def _create_file(path: Path) -> None:
    # Made beforehand for its mode: SQLite gives its log the mode of the database.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def read_revision(path: Path) -> str | None:
    """Return the revision stamped on the database, None when it is empty.

    Raises:
        StoreError: when it is a database of something else.
    """
    with contextlib.closing(connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not tables:
            return None
        if "alembic_version" not in tables:
            raise StoreError(
                f"{bounded(str(path), 300)} is not a store: the database is something else's",
                hint="move it away, or set HUD_HOME to another folder",
            )
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(found[0]) if found else ""


def _bring_up(path: Path) -> None:
    """Create or migrate; the caller keeps others from doing the same."""
    revision = read_revision(path)
    if revision is None:
        with contextlib.closing(connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in (*STATEMENTS, *STAMP):
                connection.execute(statement)
            connection.execute("COMMIT")
    elif revision in REVISIONS[:-1]:
        from hud.store.migrations import upgrade  # alembic: only when there is work for it

        upgrade(path)
    elif revision != REVISIONS[-1]:
        raise StoreError(
            f"the store {bounded(str(path), 300)} was written by a newer hud "
            f"(revision {bounded(revision, 40)})",
            hint="upgrade hud or set HUD_HOME to another folder",
        )


@contextlib.contextmanager
def _alone(home: Path) -> Generator[None]:
    descriptor = os.open(home / "open.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
