"""The embedded store: one SQLite file and a folder of blobs under `HUD_HOME`.

Reads are plain SQL on a connection of their own; writes go through the process's one writer.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from hud._core import json
from hud._core.errors import InputError, bounded
from hud._core.ids import normal_id
from hud._core.outcome import Outcome
from hud.store import writer
from hud.store.blobs import BlobFolder
from hud.store.database import connect
from hud.store.errors import store_error
from hud.store.locks import job_holder, lock_job
from hud.store.payload import put_back
from hud.store.records import Attempt, JobCounts, JobRecord, JobSummary, RunRecord, StepRecord
from hud.store.rows import LOCAL_TEAM, Row
from hud.store.summary import summarise_job

_JOB = (
    "id, team, name, status, created_at, ended_at, group_size, taskset, agent, model, runtime, "
    "spec, worked_s"
)
_RUN = (
    "id, team, job_id, task_slug, task_id, env, member, attempt, group_id, model, runtime, "
    "task_digest, status, outcome, reward, stop_reason, error, started_at, ended_at, evaluation, "
    "prompt_tokens, completion_tokens, cached_tokens, llm_calls, cost_usd, extra, "
    "turns, unpriced_turns, known_cost_usd"
)
_LATEST = """
SELECT id, task_slug, member, attempt, outcome, reward, task_digest FROM (
  SELECT id, task_slug, member, attempt, outcome, reward, task_digest,
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
        return self._job(self._find("jobs", _JOB, "job", job_id, team))

    def list_jobs(
        self, *, limit: int = 20, before: JobRecord | None = None, team: str = LOCAL_TEAM
    ) -> list[JobSummary]:
        # The listing leaves `spec` on the disk: it may hold a row for each of 200,000 tasks.
        columns = f"{_JOB.replace(', spec', ', NULL')}, summary"
        older, values = "", [team]
        if before is not None:
            older = "AND (created_at, id) < (?, ?) "
            values += [before.created_at, before.id]
        rows = self._read(
            f"SELECT {columns} FROM jobs WHERE team = ? {older}"
            "ORDER BY created_at DESC, id DESC LIMIT ?",
            (*values, limit),
        )
        return [self._with_counts(self._job(row[:-1]), row[-1]) for row in rows]

    def summarise(self, job: JobRecord) -> JobSummary:
        rows = self._read("SELECT summary FROM jobs WHERE team = ? AND id = ?", (job.team, job.id))
        return self._with_counts(job, rows[0][0] if rows else None)

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
        rows = self._read(
            f"SELECT {_RUN} FROM runs WHERE team = ? AND job_id = ? {later}"
            "ORDER BY task_slug, member, attempt, id LIMIT ?",
            (*values, limit),
        )
        is_alive = job_holder(self.home, job_id) is not None
        return [_run(row, is_alive) for row in rows]

    def latest_attempts(self, job_id: str, *, team: str = LOCAL_TEAM) -> list[Attempt]:
        rows = self._read(_LATEST, (team, normal_id(job_id)))
        return [
            Attempt(run_id, slug, member, attempt, _outcome(outcome), reward, digest)
            for run_id, slug, member, attempt, outcome, reward, digest in rows
        ]

    def find_run(self, run_id: str, *, team: str = LOCAL_TEAM) -> RunRecord:
        row = self._find("runs", _RUN, "run", run_id, team)
        return _run(row, job_holder(self.home, row[2]) is not None)

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
                "SELECT seq, source, started_at, ended_at, has_blobs, payload FROM steps "
                "WHERE team = ? AND run_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                (team, run_id, after, page),
            )
            for seq, source, started_at, ended_at, has_blobs, payload in rows:
                content = payload.encode()
                if has_blobs and resolve:
                    content = put_back(content, self._blobs.read)
                yield StepRecord(run_id, seq, source, started_at, ended_at, content)
            if len(rows) < page:
                return
            after = rows[-1][0]
            left = None if left is None else left - len(rows)

    def read_blob(self, sha256: str, *, team: str = LOCAL_TEAM) -> bytes:
        known = self._read("SELECT 1 FROM blobs WHERE team = ? AND sha256 = ?", (team, sha256))
        if not known:
            raise InputError(f"there is no blob {bounded(sha256)}")
        return self._blobs.read(sha256)

    def _read(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._reading() as connection:
            return connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        if self._owner != os.getpid():
            # Closing what came through a fork would disturb the parent's connection.
            _inherited.append(self._connection)
            self._lock = threading.Lock()
            self._connection, self._owner = None, os.getpid()
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = connect(self.path)
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise store_error(error, self.path) from error

    def _find(self, table: str, columns: str, noun: str, text: str, team: str) -> tuple[Any, ...]:
        prefix = normal_id(text)
        if not prefix or any(digit not in "0123456789abcdef" for digit in prefix):
            raise InputError(
                f"{bounded(text)!r} is not the id of a {noun}",
                hint="give the first digits of an id; `hud jobs` lists them",
            )
        rows = self._read(
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

    def _job(self, row: Sequence[Any]) -> JobRecord:
        values = dict(zip(_JOB_FIELDS, row, strict=True))
        values["spec"] = _document(values["spec"])
        if values["status"] == "running" and job_holder(self.home, values["id"]) is None:
            values["status"] = "interrupted"
        return JobRecord(**values)

    def _with_counts(self, job: JobRecord, kept: str | None) -> JobSummary:
        if kept is not None:
            return JobSummary(job, _counts(json.decode(kept)))
        with self._reading() as connection:
            counted = summarise_job(connection, job.team, job.id)
        return JobSummary(job, _counts(counted))


_inherited: list[object] = []


def _outcome(name: str | None) -> Outcome | None:
    return None if name is None else Outcome(name)


def _document(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.decode(text)


def _run(row: Sequence[Any], is_alive: bool) -> RunRecord:
    values = dict(zip(_RUN_FIELDS, row, strict=True))
    values["outcome"] = _outcome(values["outcome"])
    values["evaluation"] = _document(values["evaluation"])
    values["extra"] = _document(values["extra"])
    return RunRecord(**values, is_interrupted=values["ended_at"] is None and not is_alive)


_JOB_FIELDS = tuple(_JOB.split(", "))
_RUN_FIELDS = tuple(_RUN.split(", "))


def _counts(plain: dict[str, Any]) -> JobCounts:
    ungraded = {Outcome(name): count for name, count in plain.pop("ungraded").items()}
    return JobCounts(**plain, ungraded=ungraded)
