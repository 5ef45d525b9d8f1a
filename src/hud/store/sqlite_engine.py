"""The embedded database: one file under `HUD_HOME`, and locks beside it.

Who works on a job is known by a lock of the operating system. What another process commits is
noticed by asking the file, which costs microseconds, and only while somebody listens.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from hud._core.errors import StoreError, bounded
from hud._core.ids import is_id
from hud.store.changes import Change
from hud.store.database import connect
from hud.store.errors import store_error
from hud.store.locks import job_holder, lock_job
from hud.store.session import Session
from hud.store.sqlite_connection import SqliteConnection


class SqliteEngine:
    """The `Engine` of the file `path`, which exists and has the current schema."""

    is_polled = True
    failures = (sqlite3.Error, OSError)
    unwritable = (
        sqlite3.IntegrityError,
        sqlite3.DataError,
        sqlite3.InterfaceError,
        sqlite3.ProgrammingError,
        OverflowError,
        UnicodeEncodeError,
    )

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key = str(path)
        self.where = bounded(str(path), 300)

    def connect(self) -> SqliteConnection:
        return SqliteConnection(connect(self.path))

    def error(self, error: BaseException) -> StoreError:
        return store_error(error, self.path)

    def is_passing(self, error: BaseException) -> bool:
        return False

    def lock_job(self, job_id: str) -> AbstractContextManager[None]:
        return lock_job(self.path.parent, job_id)

    def held_jobs(self, session: Session, job_ids: Iterable[str]) -> set[str]:
        home = self.path.parent
        return {one for one in job_ids if is_id(one) and job_holder(home, one) is not None}

    def listen(self, heard: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        return _nothing


def _nothing() -> None:
    pass
