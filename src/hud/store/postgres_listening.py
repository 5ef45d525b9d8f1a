"""Hearing what other servers announce, on a connection and a thread of its own.

A connection that is lost is made again; what was said meanwhile is unknown, so then anything may
have changed.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from hud.store.changes import ANYTHING, Change
from hud.store.postgres_connection import CHANNEL, read_changes

logger = logging.getLogger(__name__)

_RETRY_S = 1.0
_ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}

Connect = Callable[..., psycopg.Connection[tuple[Any, ...]]]


class Ear:
    """Listens from `start` until `stop`.

    Args:
        token: Announcements that carry it are not passed on: they are this process's own.
    """

    def __init__(
        self, connect: Connect, token: str, heard: Callable[[Sequence[Change]], None]
    ) -> None:
        self._connect = connect
        self._token = token
        self._heard = heard
        self._stopping, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="hud-store-ear", daemon=True)

    def start(self) -> None:
        """Begin to listen; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more, and let go of the connection."""
        self._stop.close()
        self._thread.join()
        self._stopping.close()

    def _run(self) -> None:
        while True:
            try:
                with self._connect(**_ALIVE) as raw:
                    raw.execute(f"LISTEN {CHANNEL}".encode())
                    self._heard([ANYTHING])
                    if self._listen(raw):
                        return
            except psycopg.Error as error:
                logger.debug("listening to the database ended: %s", type(error).__name__)
            if self._is_stopped(None, _RETRY_S):
                return

    def _listen(self, raw: psycopg.Connection[tuple[Any, ...]]) -> bool:
        """Pass on what is announced; True when that is to end."""
        while not self._is_stopped(raw, None):
            for notice in raw.notifies(timeout=0):
                token, changes = read_changes(notice.payload)
                if token != self._token:
                    self._heard(changes)
        return True

    def _is_stopped(
        self, raw: psycopg.Connection[tuple[Any, ...]] | None, timeout: float | None
    ) -> bool:
        """Wait for the end, or for something to be said; True at the end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stopping, selectors.EVENT_READ)
            if raw is not None:
                selector.register(raw, selectors.EVENT_READ)
            return any(key.fileobj is self._stopping for key, _ in selector.select(timeout))
