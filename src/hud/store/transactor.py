"""The writing thread's connection: rows go in as one transaction, and whoever listens is told.

A batch that fails as a whole is tried again where that may help, and row by row where one of its
rows is what no database takes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

from hud._core import redact
from hud._core.errors import StoreError, bounded
from hud.store.batch import Batch, kind_of
from hud.store.blobs import Blobs
from hud.store.changes import ANYTHING, Change, Hub, changes_of
from hud.store.engine import Connection, Engine
from hud.store.entries import Entry

logger = logging.getLogger(__name__)

TRIES = 3
"""How often a batch is written that fails for what passes: two servers in each other's way."""


class Transactor:
    """Writes batches to one database; for one thread."""

    def __init__(self, engine: Engine, blobs: Blobs, hub: Hub) -> None:
        self._engine = engine
        self._blobs = blobs
        self._hub = hub
        self._connection: Connection | None = None

    def write(self, rows: list[Entry]) -> tuple[StoreError | None, bool]:
        """Write `rows`; return what went wrong and whether the rows are done with."""
        redact.refresh()
        for tried in range(1, TRIES + 1):
            try:
                try:
                    return self._write_together(rows), True
                except self._engine.unwritable:
                    return self._write_singly(rows), True
            except Exception as error:  # whatever it is, the waiters must hear of it
                self.disconnect()
                if tried < TRIES and self._engine.is_passing(error):
                    continue
                mapped = self._engine.error(error)
                mapped.__cause__ = error
                return mapped, False
        raise AssertionError

    def _write_together(self, rows: list[Entry]) -> None:
        batch = Batch(rows)
        batch.keep_blobs(self._blobs)
        connection = self._connected()
        try:
            connection.begin()
            batch.write(connection)
            self._commit(connection, rows, batch.jobs)
        except BaseException:
            connection.rollback()
            raise

    def _write_singly(self, rows: list[Entry]) -> StoreError | None:
        """Write `rows`, leaving out what cannot be written; return what that was."""
        rejected: StoreError | None = None
        connection = self._connected()
        jobs: dict[tuple[str, str], str] = {}
        try:
            connection.begin()
            for row in rows:
                try:
                    batch = Batch([row])
                    batch.keep_blobs(self._blobs)
                    with connection.savepoint():
                        batch.write(connection)
                    jobs.update(batch.jobs)
                except self._engine.unwritable as error:
                    rejected = StoreError(
                        f"a {kind_of(row)} cannot be stored and was left out: "
                        f"{bounded(str(error), 200)}"
                    )
                    rejected.__cause__ = error
            self._commit(connection, rows, jobs)
        except BaseException:
            connection.rollback()
            raise
        return rejected

    def _commit(
        self, connection: Connection, rows: list[Entry], jobs: dict[tuple[str, str], str]
    ) -> None:
        changes: Sequence[Change] = (ANYTHING,)
        if self._hub.is_heard or not self._engine.is_polled:
            changes = changes_of(rows, jobs)
            connection.announce(changes)
        connection.commit()
        if self._hub.is_heard:
            self._hub.tell(changes)
            self.look_elsewhere()

    def look_elsewhere(self) -> None:
        """Tell whoever listens when another process committed something."""
        try:
            if self._connected().changed_elsewhere():
                self._hub.tell([ANYTHING])
        except Exception as error:  # the next one who writes will hear of it
            logger.debug("%s", self._engine.error(error))
            self.disconnect()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def disconnect(self) -> None:
        """Let go of the connection; the next use makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()
