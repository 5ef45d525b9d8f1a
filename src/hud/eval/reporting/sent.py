"""What a platform has acknowledged, kept on the disk: where the next process goes on.

One small SQLite file beside the store. It only saves work: what is sent a second time is known by
its id, so a lost or stale file costs a repetition and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hud._core.errors import bounded

logger = logging.getLogger(__name__)

FILE_NAME = "sent.db"
_BUSY_S = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  place TEXT NOT NULL, origin TEXT NOT NULL, job_id TEXT NOT NULL, is_done INTEGER NOT NULL,
  PRIMARY KEY (place, job_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
  place TEXT NOT NULL, run_id TEXT NOT NULL, is_entered INTEGER NOT NULL, seq INTEGER NOT NULL,
  is_ended INTEGER NOT NULL, PRIMARY KEY (place, run_id)
) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Sent:
    """How far the report of one run has come.

    Attributes:
        seq: The steps up to this number have arrived.
    """

    is_entered: bool = False
    seq: int = 0
    is_ended: bool = False


class SentLog:
    """What one platform, asked with one key, has acknowledged; usable from any thread.

    A file that cannot be used is said once; what is then remembered ends with this process.

    Args:
        identity: Names platform and key.
        origin: Names the platform alone.
    """

    def __init__(self, home: Path, identity: str, origin: str) -> None:
        self._path = home / FILE_NAME
        self._place, self._origin = identity, origin
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._is_broken = False

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def run(self, run_id: str) -> Sent:
        """Return how far a run has come."""
        rows = self._read(
            "SELECT is_entered, seq, is_ended FROM runs WHERE place = ? AND run_id = ?",
            (self._place, run_id),
        )
        return Sent(bool(rows[0][0]), rows[0][1], bool(rows[0][2])) if rows else Sent()

    def keep(self, run_id: str, sent: Sent) -> None:
        """Remember how far a run has come."""
        self._write(
            "INSERT OR REPLACE INTO runs (place, run_id, is_entered, seq, is_ended) "
            "VALUES (?, ?, ?, ?, ?)",
            (self._place, run_id, int(sent.is_entered), sent.seq, int(sent.is_ended)),
        )

    def ended(self, run_ids: Sequence[str]) -> set[str]:
        """Return which of these runs have arrived to their end."""
        found: set[str] = set()
        for start in range(0, len(run_ids), 500):
            some = run_ids[start : start + 500]
            marks = ", ".join("?" * len(some))
            rows = self._read(
                f"SELECT run_id FROM runs WHERE place = ? AND is_ended = 1 AND run_id IN ({marks})",
                (self._place, *some),
            )
            found.update(row[0] for row in rows)
        return found

    def begin_job(self, job_id: str) -> None:
        """Remember that a job is to be reported."""
        self._mark(job_id, is_done=False)

    def end_job(self, job_id: str) -> None:
        """Remember that all there is of a job has arrived."""
        self._mark(job_id, is_done=True)

    def open_jobs(self, *, any_key: bool = False) -> list[str]:
        """Return the jobs of which something may not have arrived.

        Args:
            any_key: Also those that were to be reported to this platform with another key, unless
                they arrived with this one.
        """
        if not any_key:
            rows = self._read(
                "SELECT job_id FROM jobs WHERE place = ? AND is_done = 0", (self._place,)
            )
        else:
            rows = self._read(
                "SELECT DISTINCT job_id FROM jobs WHERE origin = ? AND is_done = 0 "
                "AND job_id NOT IN (SELECT job_id FROM jobs WHERE place = ? AND is_done = 1)",
                (self._origin, self._place),
            )
        return [row[0] for row in rows]

    def forget_runs(self, run_ids: Iterable[str]) -> None:
        """Remember nothing of these runs any more, so that all of them is sent again."""
        for run_id in run_ids:
            self._write("DELETE FROM runs WHERE place = ? AND run_id = ?", (self._place, run_id))

    def _mark(self, job_id: str, *, is_done: bool) -> None:
        self._write(
            "INSERT OR REPLACE INTO jobs (place, origin, job_id, is_done) VALUES (?, ?, ?, ?)",
            (self._place, self._origin, job_id, int(is_done)),
        )

    def _read(self, sql: str, values: Sequence[Any]) -> list[Any]:
        with self._lock, self._guarded():
            return self._connected().execute(sql, values).fetchall()
        return []

    def _write(self, sql: str, values: Sequence[Any]) -> None:
        with self._lock, self._guarded():
            self._connected().execute(sql, values)

    @contextlib.contextmanager
    def _guarded(self) -> Any:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if not self._is_broken:
                self._is_broken = True
                logger.warning(
                    "what was sent to the platform cannot be remembered in %s: %s",
                    *(bounded(str(self._path), 300), error),
                )
            if self._connection is not None:
                self._connection.close()
            self._connection = sqlite3.connect(
                ":memory:", isolation_level=None, check_same_thread=False
            )
            self._connection.executescript(_SCHEMA)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            # Losing the newest lines at a power cut costs a repetition.
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.executescript(_SCHEMA)
        return self._connection
