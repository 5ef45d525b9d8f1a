"""The embedded store: one SQLite file and a folder of blobs under `HUD_HOME`.

Reads are plain SQL on a connection of their own; writes go through the process's one writer.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from hud._core import json
from hud._core.errors import InputError, bounded
from hud._core.ids import is_id, normal_id
from hud._core.outcome import Outcome
from hud.store import writer
from hud.store.blobs import BlobFolder
from hud.store.database import connect
from hud.store.errors import store_error
from hud.store.filters import EVERY_JOB, EVERY_RUN, JobFilter, RunFilter
from hud.store.liveness import living_jobs, reported_statuses, silent_before
from hud.store.locks import job_holder, lock_job
from hud.store.payload import put_back
from hud.store.records import (
    Attempt,
    DebugSpanRecord,
    JobCounts,
    JobRecord,
    JobSummary,
    RunRecord,
    StepRecord,
)
from hud.store.rows import LOCAL_TEAM, Row, RunMark
from hud.store.session import Session
from hud.store.sqlite_session import SqliteSession
from hud.store.summary import summarise_job

_JOB = (
    "id, team, name, status, created_at, ended_at, group_size, taskset, agent, model, runtime, "
    "spec, worked_s, heard_at, taskset_id, project_id, key_id"
)
_RUN = (
    "id, team, job_id, task_slug, task_id, env, member, attempt, group_id, model, runtime, "
    "task_digest, status, outcome, reward, stop_reason, error, started_at, ended_at, evaluation, "
    "prompt_tokens, completion_tokens, cached_tokens, llm_calls, cost_usd, extra, "
    "turns, unpriced_turns, known_cost_usd, parent_id, invalid_reason"
)
_LATEST = """
SELECT id, task_slug, member, attempt, outcome, reward, task_digest, invalid_reason FROM (
  SELECT id, task_slug, member, attempt, outcome, reward, task_digest, invalid_reason,
    lead(attempt) OVER (PARTITION BY task_slug, member ORDER BY attempt, id) AS next_attempt
  FROM runs WHERE team = ? AND job_id = ?
) AS attempts WHERE next_attempt IS NULL
"""
_STEP_PAGE = 500
_MATCHES_NAMED = 5


class SqliteStore:
    """A `Store` on the database file `path`, which exists and has the current schema."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.home = path.parent
        self._blobs = BlobFolder(self.home / "blobs")
        self._writer: writer.Writer | None = None
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._owner = os.getpid()

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
            connection, self._connection = self._connection, None
        if connection is not None and self._owner == os.getpid():
            connection.close()
        if mine is not None:
            writer.release(mine)

    def _open_writer(self) -> writer.Writer:
        with self._lock:
            if self._writer is None:
                self._writer = writer.acquire(self.path, lambda: connect(self.path))
            return self._writer

    def lock_job(self, job_id: str) -> AbstractContextManager[None]:
        return lock_job(self.home, job_id)

    def find_job(self, job_id: str, *, team: str = LOCAL_TEAM) -> JobRecord:
        with self._reading() as session:
            [job] = self._jobs(session, [self._find(session, "jobs", _JOB, "job", job_id, team)])
        return job

    def list_jobs(
        self,
        filters: JobFilter = EVERY_JOB,
        *,
        limit: int = 20,
        before: JobRecord | None = None,
        team: str = LOCAL_TEAM,
    ) -> list[JobSummary]:
        found: list[JobSummary] = []
        while len(found) < limit:
            with self._reading() as session:
                page, kept = self._page_of_jobs(session, filters, before, limit, team)
                for job in page:
                    if filters.status in (None, job.status) and len(found) < limit:
                        found.append(self._with_counts(session, job, kept[job.id]))
            if len(page) < limit:
                break
            before = page[-1]
        return found

    def _page_of_jobs(
        self,
        session: Session,
        filters: JobFilter,
        before: JobRecord | None,
        limit: int,
        team: str,
    ) -> tuple[list[JobRecord], dict[str, str | None]]:
        # The listing leaves `spec` on the disk: it may hold a row for each of 200,000 tasks.
        columns = f"{_JOB.replace(', spec', ', NULL')}, summary"
        narrowed, values = filters.conditions(silent_before())
        if before is not None:
            narrowed += "AND (created_at, id) < (?, ?) "
            values += [before.created_at, before.id]
        rows = session.query(
            f"SELECT {columns} FROM jobs WHERE team = ? {narrowed}"
            "ORDER BY created_at DESC, id DESC LIMIT ?",
            (team, *values, limit),
        )
        jobs = self._jobs(session, [row[:-1] for row in rows])
        return jobs, {job.id: row[-1] for job, row in zip(jobs, rows, strict=True)}

    def summarise(self, job: JobRecord) -> JobSummary:
        with self._reading() as session:
            rows = session.query(
                "SELECT summary FROM jobs WHERE team = ? AND id = ?", (job.team, job.id)
            )
            return self._with_counts(session, job, rows[0][0] if rows else None)

    def runs_of(
        self,
        job_id: str,
        *,
        after: RunRecord | None = None,
        limit: int = 1000,
        team: str = LOCAL_TEAM,
    ) -> list[RunRecord]:
        job_id = normal_id(job_id)
        later, values = "", [team, job_id]
        if after is not None:
            later = "AND (task_slug, member, attempt, id) > (?, ?, ?, ?) "
            values += [after.task_slug, after.member, after.attempt, after.id]
        with self._reading() as session:
            rows = session.query(
                f"SELECT {_RUN} FROM runs WHERE team = ? AND job_id = ? {later}"
                "ORDER BY task_slug, member, attempt, id LIMIT ?",
                (*values, limit),
            )
            return self._runs(session, rows)

    def list_runs(
        self,
        filters: RunFilter = EVERY_RUN,
        *,
        limit: int = 100,
        before: RunRecord | None = None,
        team: str = LOCAL_TEAM,
    ) -> list[RunRecord]:
        narrowed, values = filters.conditions()
        if before is not None:
            narrowed += "AND (started_at, id) < (?, ?) "
            values += [before.started_at, before.id]
        with self._reading() as session:
            rows = session.query(
                f"SELECT {_RUN} FROM runs WHERE team = ? {narrowed}"
                "ORDER BY started_at DESC, id DESC LIMIT ?",
                (team, *values, limit),
            )
            return self._runs(session, rows)

    def latest_attempts(self, job_id: str, *, team: str = LOCAL_TEAM) -> list[Attempt]:
        rows = self._read(_LATEST, (team, normal_id(job_id)))
        return [
            Attempt(run_id, slug, member, attempt, _outcome(outcome), reward, digest, invalid)
            for run_id, slug, member, attempt, outcome, reward, digest, invalid in rows
        ]

    def find_run(self, run_id: str, *, team: str = LOCAL_TEAM) -> RunRecord:
        with self._reading() as session:
            [run] = self._runs(session, [self._find(session, "runs", _RUN, "run", run_id, team)])
        return run

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
            rows = self._read(
                "SELECT seq, source, started_at, ended_at, has_blobs, payload, span_id FROM steps "
                "WHERE team = ? AND run_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                (team, run_id, after, page),
            )
            for seq, source, started_at, ended_at, has_blobs, payload, span_id in rows:
                content = self._content(payload, has_blobs and resolve)
                yield StepRecord(run_id, seq, source, started_at, ended_at, content, span_id)
            if len(rows) < page:
                return
            after = rows[-1][0]
            left = None if left is None else left - len(rows)

    def read_debug_spans(
        self,
        run_id: str,
        *,
        after: str = "",
        limit: int = 500,
        team: str = LOCAL_TEAM,
    ) -> list[DebugSpanRecord]:
        run_id = normal_id(run_id)
        rows = self._read(
            "SELECT span_id, name, started_at, ended_at, has_blobs, payload FROM debug_spans "
            "WHERE team = ? AND run_id = ? AND span_id > ? ORDER BY span_id LIMIT ?",
            (team, run_id, after, limit),
        )
        return [
            DebugSpanRecord(
                run_id, span_id, name, started_at, ended_at, self._content(payload, has_blobs)
            )
            for span_id, name, started_at, ended_at, has_blobs, payload in rows
        ]

    def _content(self, payload: str, has_moved: int) -> bytes:
        content = payload.encode()
        return put_back(content, self._blobs.read) if has_moved else content

    def read_blob(self, sha256: str, *, team: str = LOCAL_TEAM) -> bytes:
        known = self._read("SELECT 1 FROM blobs WHERE team = ? AND sha256 = ?", (team, sha256))
        if not known:
            raise InputError(f"there is no blob {bounded(sha256)}")
        return self._blobs.read(sha256)

    def _read(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._reading() as session:
            return session.query(sql, values)

    @contextlib.contextmanager
    def _reading(self) -> Generator[Session]:
        if self._owner != os.getpid():
            # Closing what came through a fork would disturb the parent's connection.
            _inherited.append(self._connection)
            self._lock = threading.Lock()
            self._connection, self._owner = None, os.getpid()
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = connect(self.path)
                yield SqliteSession(self._connection)
            except (sqlite3.Error, OSError) as error:
                raise store_error(error, self.path) from error

    def _find(
        self, session: Session, table: str, columns: str, noun: str, text: str, team: str
    ) -> tuple[Any, ...]:
        prefix = normal_id(text)
        if not prefix or any(digit not in "0123456789abcdef" for digit in prefix):
            raise InputError(
                f"{bounded(text)!r} is not the id of a {noun}",
                hint="give the first digits of an id; `hud jobs` lists them",
            )
        rows = session.query(
            f"SELECT {columns} FROM {table} WHERE team = ? AND id >= ? AND id < ? "
            f"ORDER BY id LIMIT {_MATCHES_NAMED + 1}",
            (team, prefix, prefix + "g"),
        )
        if not rows:
            raise InputError(
                f"there is no {noun} {bounded(text)} in {bounded(str(self.path), 300)}",
                hint="`hud jobs` lists what is recorded",
            )
        if len(rows) > 1:
            named = ", ".join(row[0] for row in rows[:_MATCHES_NAMED])
            more = ", …" if len(rows) > _MATCHES_NAMED else ""
            raise InputError(
                f"{bounded(text)} matches more than one {noun}: {named}{more}",
                hint="give more digits of the id",
            )
        return rows[0]

    def _jobs(self, session: Session, rows: Sequence[Sequence[Any]]) -> list[JobRecord]:
        """Return `rows`, all of one team, with how each stands now."""
        found = [dict(zip(_JOB_FIELDS, row, strict=True)) for row in rows]
        heard = {
            job["id"]: job["heard_at"]
            for job in found
            if job["status"] == "running" and job["heard_at"] is not None
        }
        reported = reported_statuses(session, found[0]["team"], heard) if heard else {}
        for job in found:
            job["spec"] = _document(job["spec"])
            if job["id"] in reported:
                job["status"] = reported[job["id"]]
            elif job["status"] == "running" and not self._is_held(job["id"]):
                job["status"] = "interrupted"
        return [JobRecord(**job) for job in found]

    def _runs(self, session: Session, rows: Sequence[Sequence[Any]]) -> list[RunRecord]:
        """Return `rows`, all of one team, with whether anybody works on them."""
        found = [dict(zip(_RUN_FIELDS, row, strict=True)) for row in rows]
        unfinished = {run["job_id"] for run in found if run["ended_at"] is None} - {""}
        living: set[str] = set()
        if unfinished:
            living = living_jobs(session, found[0]["team"], unfinished, self._is_held)
        limit = silent_before()
        for run in found:
            run["outcome"] = _outcome(run["outcome"])
            run["evaluation"] = _document(run["evaluation"])
            run["extra"] = _document(run["extra"])
            is_alive = run["job_id"] in living or (not run["job_id"] and run["started_at"] >= limit)
            run["is_interrupted"] = run["ended_at"] is None and not is_alive
        return [RunRecord(**run) for run in found]

    def _is_held(self, job_id: str) -> bool:
        return is_id(job_id) and job_holder(self.home, job_id) is not None

    def _with_counts(self, session: Session, job: JobRecord, kept: str | None) -> JobSummary:
        counts = summarise_job(session, job.team, job.id) if kept is None else json.decode(kept)
        return JobSummary(job, _counts(counts))


_inherited: list[object] = []


def _outcome(name: str | None) -> Outcome | None:
    return None if name is None else Outcome(name)


def _document(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.decode(text)


_JOB_FIELDS = tuple(_JOB.split(", "))
_RUN_FIELDS = tuple(_RUN.split(", "))


def _counts(plain: dict[str, Any]) -> JobCounts:
    ungraded = {Outcome(name): count for name, count in plain.pop("ungraded").items()}
    return JobCounts(**plain, ungraded=ungraded)
