"""A queue of rows as few SQL statements, inside one transaction of one connection.

Every statement takes as many rows as SQLite has variables for: Python's sqlite3 gives up the
interpreter lock on every step of a statement, and getting it back beside a busy main thread costs
up to 5 ms each time, so a statement per row would write a few hundred rows a second. Writing the
same rows again changes nothing.
"""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from hud._core import json
from hud._core.errors import StoreError, bounded
from hud._core.redact import is_suspect_json, redact, redact_json, redact_json_text
from hud.store.blobs import BlobFolder
from hud.store.entries import (
    DOCUMENTS,
    JOB_COLUMNS,
    RUN_COLUMNS,
    RUN_END_COLUMNS,
    Entry,
    Values,
)
from hud.store.payload import MEDIA_LIMIT_BYTES, move_out
from hud.store.rows import BlobRow, JobEnd, RunEnd, RunStart, StepRow
from hud.store.summary import summarise_job

_MAX_VARIABLES = 32_000
_SCANNED_AT_ONCE = 64

_JOB_AGAIN = (
    "ON CONFLICT (team, id) DO UPDATE SET status = 'running', ended_at = NULL, summary = NULL, "
    "spec = COALESCE(excluded.spec, jobs.spec)"
)
_RUN_AGAIN = "ON CONFLICT (team, id) DO NOTHING"
_STEP_AGAIN = "ON CONFLICT (team, run_id, seq) DO NOTHING"
_BLOB_AGAIN = "ON CONFLICT (team, sha256) DO NOTHING"
_STEP_COLUMNS = (
    *("team", "run_id", "seq", "source"),
    *("started_at", "ended_at", "has_blobs", "payload"),
)
_BLOB_COLUMNS = ("team", "sha256", "size_bytes", "media_type", "created_at")

UNWRITABLE = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeEncodeError,
)
"""What one row that no database takes raises; the others of its batch are fine."""


class Batch:
    """Rows on their way into one database, grouped by what becomes of them."""

    def __init__(self, blobs: BlobFolder) -> None:
        self._blobs = blobs
        self.rejected: StoreError | None = None
        self._clear()

    def _clear(self) -> None:
        self._jobs: list[tuple[Any, ...]] = []
        self._runs: list[tuple[Any, ...]] = []
        self._steps: list[tuple[Any, ...]] = []
        self._kept: list[tuple[Any, ...]] = []
        self._ends: list[tuple[Any, ...]] = []
        self._touched: set[tuple[str, str]] = set()
        self._job_ends: list[JobEnd] = []

    def write(self, connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
        """Put all of `entries` into the open transaction of `connection`, blob files first."""
        self._clear()
        for start in range(0, len(entries), _SCANNED_AT_ONCE):
            group = entries[start : start + _SCANNED_AT_ONCE]
            is_clean = _is_clean(group)
            for entry in group:
                # Inside a batch only the order of a job's own beginnings and ends matters.
                if self._job_ends and isinstance(entry, Values):
                    self._execute(connection)
                    self._clear()
                self._add(entry, is_clean)
        self._execute(connection)
        self._clear()

    def write_singly(self, connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
        """Do as `write`, leaving out what cannot be written; `rejected` then says what."""
        self.rejected = None
        for entry in entries:
            connection.execute("SAVEPOINT one")
            try:
                self.write(connection, [entry])
            except UNWRITABLE as error:
                connection.execute("ROLLBACK TO one")
                self.rejected = StoreError(
                    f"a {_kind(entry)} cannot be stored and was left out: "
                    f"{bounded(str(error), 200)}"
                )
                self.rejected.__cause__ = error
            connection.execute("RELEASE one")

    def _add(self, entry: Entry, is_clean: bool) -> None:
        match entry:
            case StepRow():
                self._add_step(entry, is_clean)
            case Values():
                values = entry.values
                if not is_clean:
                    values = _cleaned(entry)
                if entry.kind is RunStart:
                    self._runs.append(values)
                elif entry.kind is RunEnd:
                    self._ends.append(values)
                else:
                    self._jobs.append(values)
                self._touched.add((entry.team, entry.job_id))
            case JobEnd():
                self._job_ends.append(entry)
            case BlobRow():
                self._keep(entry.team, entry.content, entry.media_type)

    def _add_step(self, row: StepRow, is_clean: bool) -> None:
        payload = row.payload if is_clean else redact_json(row.payload)
        moved = False
        if len(payload) > MEDIA_LIMIT_BYTES:

            def keep(content: bytes, media_type: str) -> str:
                return self._keep(row.team, content, media_type)

            payload, moved = move_out(payload, keep)
        text = payload.decode("utf-8", "replace")
        self._steps.append(
            (
                row.team,
                row.run_id,
                row.seq,
                row.source,
                row.started_at,
                row.ended_at,
                int(moved),
                text,
            )
        )

    def _keep(self, team: str, content: bytes, media_type: str) -> str:
        sha256 = self._blobs.write(content)
        now = time.time_ns() // 1000
        self._kept.append((team, sha256, len(content), media_type, now))
        return sha256

    def _execute(self, connection: sqlite3.Connection) -> None:
        _insert(connection, "jobs", JOB_COLUMNS, _JOB_AGAIN, self._jobs)
        _insert(connection, "runs", RUN_COLUMNS, _RUN_AGAIN, self._runs)
        _insert(connection, "blobs", _BLOB_COLUMNS, _BLOB_AGAIN, self._kept)
        _insert(connection, "steps", _STEP_COLUMNS, _STEP_AGAIN, self._steps)
        _in_chunks(connection, _end_runs_sql, len(RUN_END_COLUMNS), self._ends)
        _in_chunks(connection, _forget_summaries_sql, 2, sorted(self._touched))
        for end in self._job_ends:
            summary = summarise_job(connection, end.team, end.id)
            connection.execute(
                "UPDATE jobs SET status = ?, ended_at = ?, summary = ?, "
                "worked_s = COALESCE(?, worked_s) WHERE team = ? AND id = ?",
                (
                    end.status,
                    end.ended_at,
                    json.encode(summary).decode(),
                    end.worked_s,
                    end.team,
                    end.id,
                ),
            )


def _insert(
    connection: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    conflict: str,
    rows: Sequence[tuple[Any, ...]],
) -> None:
    head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
    _in_chunks(
        connection,
        lambda count: f"{head}{_marks(len(columns), count)} {conflict}",
        len(columns),
        rows,
    )


def _end_runs_sql(count: int) -> str:
    # VALUES names its columns column1, column2, …; the first two are the key, the last is `extra`.
    assignments = [f"{name} = v.column{at}" for at, name in enumerate(RUN_END_COLUMNS[2:-1], 3)]
    assignments.append(f"extra = COALESCE(v.column{len(RUN_END_COLUMNS)}, runs.extra)")
    return (
        f"UPDATE runs SET {', '.join(assignments)} "
        f"FROM (VALUES {_marks(len(RUN_END_COLUMNS), count)}) AS v "
        "WHERE runs.team = v.column1 AND runs.id = v.column2 AND runs.ended_at IS NULL"
    )


def _forget_summaries_sql(count: int) -> str:
    return (
        "UPDATE jobs SET summary = NULL WHERE summary IS NOT NULL "
        f"AND (team, id) IN (VALUES {_marks(2, count)})"
    )


def _in_chunks(
    connection: sqlite3.Connection,
    statement: Callable[[int], str],
    width: int,
    rows: Sequence[tuple[Any, ...]],
) -> None:
    at_once = _MAX_VARIABLES // width
    for start in range(0, len(rows), at_once):
        chunk = rows[start : start + at_once]
        flat: list[Any] = []
        for row in chunk:
            flat.extend(row)
        # A few sizes only, so that the statements stay prepared (preparing gives up the
        # interpreter lock too). Repeating the last row changes nothing: every statement here
        # may be executed twice.
        size = min(1 << (len(chunk) - 1).bit_length(), at_once)
        flat.extend(chunk[-1] * (size - len(chunk)))
        connection.execute(statement(size), flat)


@functools.cache
def _marks(width: int, count: int) -> str:
    one = f"({', '.join('?' * width)})"
    return ", ".join([one] * count)


def _is_clean(entries: Sequence[Entry]) -> bool:
    """Tell whether nothing in `entries` needs a second look: one scan over all of their text."""
    texts: list[str] = []
    for entry in entries:
        if type(entry) is StepRow:
            texts.append(entry.payload.decode("utf-8", "replace"))
        elif type(entry) is Values:
            texts.extend([value for value in entry.values if type(value) is str])
    text = "\n".join(texts)
    return text.isascii() and not is_suspect_json(text)


def _cleaned(entry: Values) -> tuple[Any, ...]:
    """Return the values of `entry` without secrets and in a form every database takes."""
    documents = DOCUMENTS[entry.kind]
    return tuple(
        [
            _cleaned_text(value, is_document=at in documents) if type(value) is str else value
            for at, value in enumerate(entry.values)
        ]
    )


def _cleaned_text(text: str, *, is_document: bool) -> str:
    text = redact_json_text(text) if is_document else redact(text)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _kind(entry: Entry) -> str:
    return (entry.kind if isinstance(entry, Values) else type(entry)).__name__
