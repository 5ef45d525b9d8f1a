"""The platform's own tables through SQLAlchemy: the same file or server that the store is in.

Runs and steps are the store's; this is for what changes rarely. A call blocks: routes that use it
run in a thread.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from hud._core.errors import StoreError, bounded
from hud.store.database import BUSY_TIMEOUT_S, FILE_NAME
from hud.store.errors import store_error

_POOL_SIZE = 8


class Database:
    """Connections to one database, opened when first needed."""

    def __init__(self, home: Path, url: str | None = None) -> None:
        self._path = home / FILE_NAME
        self.is_sqlite = url is None
        if url is None:
            self._engine = create_engine(
                f"sqlite:///{self._path}", connect_args={"timeout": BUSY_TIMEOUT_S}
            )
            event.listen(self._engine, "connect", _configure)
            event.listen(self._engine, "begin", _begin)
        else:
            scheme, _, rest = url.partition("://")
            driver = "postgresql+psycopg" if scheme in ("postgres", "postgresql") else scheme
            self._engine = create_engine(
                f"{driver}://{rest}", pool_size=_POOL_SIZE, pool_pre_ping=True
            )

    @contextlib.contextmanager
    def reading(self) -> Generator[Connection]:
        """A connection to read with, in one transaction.

        Raises:
            StoreError: when the database cannot be used.
        """
        with self._mapped(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Generator[Connection]:
        """A connection whose writes are kept together when the block ends well.

        Raises:
            StoreError: when the database cannot be used; nothing is kept then.
        """
        with (
            self._mapped(),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextlib.contextmanager
    def _mapped(self) -> Generator[None]:
        try:
            yield
        except DBAPIError as error:
            cause = error.orig
            if isinstance(cause, sqlite3.Error):
                if isinstance(cause, sqlite3.IntegrityError):
                    raise
                raise store_error(cause, self._path) from error
            if isinstance(error, OperationalError) or error.connection_invalidated:
                # The text of a driver may repeat the address with its password: left out.
                raise StoreError(
                    f"the database cannot be used: {bounded(type(cause).__name__, 80)}",
                    hint="check that it runs and that the address is right",
                ) from None
            raise

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def now_us() -> int:
    """Return the time now, in microseconds since the epoch."""
    return time.time_ns() // 1000


def _configure(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions are begun below
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -4000")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
