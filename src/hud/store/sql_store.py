"""The store on a database and a place for blobs; both are given, and what it means is the same.

Reads are plain SQL on connections of their own; writes go through the process's one writer.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar

from hud._core.errors import NotFound, StoreError, bounded
from hud._core.ids import normal_id
from hud.store import writer
from hud.store.blobs import Blobs
from hud.store.changes import Change
from hud.store.engine import Connection, Engine
from hud.store.filters import EVERY_JOB, EVERY_RUN, JobFilter, RunFilter
from hud.store.payload import put_back
from hud.store.pool import Pool
from hud.store.reading import Reading
from hud.store.recent_counts import RecentCounts
from hud.store.records import (
    Attempt,
    BlobRecord,
    DebugSpanRecord,
    JobRecord,
    JobSummary,
    RunRecord,
    StepRecord,
)
from hud.store.rows import LOCAL_TEAM, JobCounted, Row, RunMark

T = TypeVar("T")

_STEP_PAGE = 500


class SqlStore:
    """A `Store` on a database that has the current schema."""

    def __init__(self, engine: Engine, blobs: Blobs) -> None:
        self.engine = engine
        self.blobs = blobs
        self.pool = Pool(engine)
        self._recent = RecentCounts()
        self._writer: writer.Writer | None = None
        self._lock = threading.Lock()

    def put(self, row: Row) -> None:
        (self._writer or self._open_writer()).put(row)

    async def committed(self) -> None:
        if self._writer is not None:
            await self._writer.committed()

    def flush(self, timeout: float | None = None) -> None:
        if self._writer is not None:
            self._writer.flush(timeout)

    def close(self) -> None:
        with self._lock:
            mine, self._writer = self._writer, None
        self.pool.close()
        if mine is not None:
            writer.release(mine)

    def _open_writer(self) -> writer.Writer:
        with self._lock:
            if self._writer is None:
                self._writer = writer.acquire(self.engine, self.blobs)
            return self._writer

    def watch(
        self, *, team: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        return self._open_writer().hub.watch(team)

    def lock_job(self, job_id: str) -> AbstractContextManager[None]:
        return self.engine.lock_job(job_id)

    def find_job(self, job_id: str, *, team: str = LOCAL_TEAM) -> JobRecord:
        return self._ask(team, lambda reading: reading.job(job_id))

    def list_jobs(
        self,
        filters: JobFilter = EVERY_JOB,
        *,
        limit: int = 20,
        before: JobRecord | None = None,
        team: str = LOCAL_TEAM,
    ) -> list[JobSummary]:
        counted: list[str] = []

        def page(reading: Reading) -> tuple[list[JobSummary], JobRecord | None]:
            page = reading.jobs(filters, before, limit)
            counted.extend(reading.counted)
            return page

        found: list[JobSummary] = []
        while True:
            some, before = self._ask(team, page)
            found += some
            if before is None or len(found) >= limit:
                self._keep_counts(team, counted)
                return found[:limit]

    def _keep_counts(self, team: str, job_ids: list[str]) -> None:
        """Have what was counted kept, where this process writes anyway."""
        if self._writer is not None:
            with contextlib.suppress(StoreError):  # it is only a convenience
                for job_id in job_ids:
                    self._writer.put(JobCounted(id=job_id, team=team))

    def summarise(self, job: JobRecord) -> JobSummary:
        return self._ask(job.team, lambda reading: reading.summary(job))

    def runs_of(
        self,
        job_id: str,
        *,
        after: RunRecord | None = None,
        limit: int = 1000,
        team: str = LOCAL_TEAM,
    ) -> list[RunRecord]:
        return self._ask(team, lambda reading: reading.runs_of(job_id, after, limit))

    def list_runs(
        self,
        filters: RunFilter = EVERY_RUN,
        *,
        limit: int = 100,
        before: RunRecord | None = None,
        team: str = LOCAL_TEAM,
    ) -> list[RunRecord]:
        return self._ask(team, lambda reading: reading.runs(filters, before, limit))

    def latest_attempts(self, job_id: str, *, team: str = LOCAL_TEAM) -> list[Attempt]:
        return self._ask(team, lambda reading: reading.latest_attempts(job_id))

    def find_run(self, run_id: str, *, team: str = LOCAL_TEAM) -> RunRecord:
        return self._ask(team, lambda reading: reading.run(run_id))

    def mark_invalid(
        self, run_id: str, reason: str | None, *, actor: str, team: str = LOCAL_TEAM
    ) -> RunRecord:
        run = self.find_run(run_id, team=team)
        now = time.time_ns() // 1000
        self.put(RunMark(id=run.id, invalid_reason=reason, actor=actor, marked_at=now, team=team))
        self.flush()
        return self.find_run(run.id, team=team)

    def read_steps(
        self,
        run_id: str,
        *,
        after: int = 0,
        limit: int | None = None,
        resolve: bool = True,
        team: str = LOCAL_TEAM,
    ) -> Iterator[StepRecord]:
        run_id = normal_id(run_id)
        left = limit
        while left is None or left > 0:
            page = _STEP_PAGE if left is None else min(left, _STEP_PAGE)
            rows = self._query(
                "SELECT seq, source, started_at, ended_at, has_blobs, payload, span_id FROM steps "
                "WHERE team = ? AND run_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                (team, run_id, after, page),
            )
            for seq, source, started_at, ended_at, has_blobs, payload, span_id in rows:
                content = self._content(payload, bool(has_blobs) and resolve)
                yield StepRecord(run_id, seq, source, started_at, ended_at, content, span_id)
            if len(rows) < page:
                return
            after = rows[-1][0]
            left = None if left is None else left - len(rows)

    def read_debug_spans(
        self, run_id: str, *, after: str = "", limit: int = 500, team: str = LOCAL_TEAM
    ) -> list[DebugSpanRecord]:
        run_id = normal_id(run_id)
        rows = self._query(
            "SELECT span_id, name, started_at, ended_at, payload, has_blobs FROM debug_spans "
            "WHERE team = ? AND run_id = ? AND span_id > ? ORDER BY span_id LIMIT ?",
            (team, run_id, after, limit),
        )
        return [
            DebugSpanRecord(
                run_id, span_id, name, started_at, ended_at, self._content(payload, bool(has_blobs))
            )
            for span_id, name, started_at, ended_at, payload, has_blobs in rows
        ]

    def find_blob(self, sha256: str, *, team: str = LOCAL_TEAM) -> BlobRecord:
        rows = self._query(
            "SELECT sha256, size_bytes, media_type, created_at FROM blobs "
            "WHERE team = ? AND sha256 = ?",
            (team, sha256),
        )
        if not rows:
            raise NotFound(f"there is no blob {bounded(sha256)}")
        return BlobRecord(*rows[0])

    def read_blob(
        self, sha256: str, *, start: int = 0, stop: int | None = None, team: str = LOCAL_TEAM
    ) -> bytes:
        size = self.find_blob(sha256, team=team).size_bytes
        stop = size if stop is None else min(stop, size)
        if start == 0 and stop == size:
            return self.blobs.read(sha256)
        return self.blobs.read_part(sha256, start, stop) if start < stop else b""

    def _content(self, payload: str, has_moved: bool) -> bytes:
        content = payload.encode()
        return put_back(content, self.blobs.read) if has_moved else content

    def _ask(self, team: str, question: Callable[[Reading], T]) -> T:
        def work(connection: Connection) -> T:
            return question(Reading(self.engine, connection, team, self._recent))

        return self.pool.read(work)

    def _query(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return self.pool.read(lambda connection: connection.query(sql, values))
