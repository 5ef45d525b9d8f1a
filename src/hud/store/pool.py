"""Connections for reading, a few of them: readers do not wait for each other's queries."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from hud.store.engine import Connection, Engine

T = TypeVar("T")

READERS_AT_ONCE = 8
"""More queries than this at once wait for each other."""


class Pool:
    """Connections that only read. Every method may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._room = threading.Semaphore(READERS_AT_ONCE)
        self._idle: list[Connection] = []
        self._closed = 0

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns of a connection; it may be asked twice.

        Raises:
            StoreError: when the database cannot be read.
        """
        if self._owner != os.getpid():
            # Closing what came through a fork would disturb the parent's connections.
            _inherited.append(self._idle)
            self._reset()
        with self._room:
            try:
                return self._work(work)
            except self._engine.failures as error:
                raise self._engine.error(error) from error

    def _work(self, work: Callable[[Connection], T]) -> T:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            try:
                return self._used(connection, work)
            except self._engine.failures as error:
                if not self._engine.is_passing(error):
                    raise
                self.close()  # the others were open as long
        return self._used(self._engine.connect(), work)

    def _used(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        closed = self._closed
        try:
            result = work(connection)
        except self._engine.failures:
            with contextlib.suppress(Exception):
                connection.close()
            raise
        except BaseException:
            self._put_back(connection, closed)
            raise
        self._put_back(connection, closed)
        return result

    def _put_back(self, connection: Connection, closed: int) -> None:
        with self._lock:
            if closed == self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle; the next reader opens anew."""
        if self._owner != os.getpid():
            return
        with self._lock:
            self._closed += 1
            idle, self._idle = self._idle, []
        for connection in idle:
            with contextlib.suppress(Exception):
                connection.close()


_inherited: list[object] = []
