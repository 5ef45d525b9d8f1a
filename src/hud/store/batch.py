"""A queue of rows as few SQL statements, inside one transaction of one connection.

What the statements say is in `statements`; here is which rows go into which, cleaned of secrets
and with large values moved out.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from hud._core import json
from hud._core.errors import StoreError, bounded
from hud._core.ids import new_id
from hud._core.redact import is_suspect_json, redact, redact_json, redact_json_text
from hud.store import spans
from hud.store import statements as sql
from hud.store.blobs import BlobFolder
from hud.store.entries import (
    DOCUMENTS,
    JOB_COLUMNS,
    RUN_COLUMNS,
    RUN_END_COLUMNS,
    Entry,
    Values,
)
from hud.store.members import count_members
from hud.store.payload import MEDIA_LIMIT_BYTES, move_out
from hud.store.rows import (
    UNCOUNTED,
    BlobRow,
    DebugSpanRow,
    JobEnd,
    JobHeard,
    RunEnd,
    RunMark,
    RunStart,
    StepRow,
)
from hud.store.session import Session
from hud.store.sqlite_session import SqliteSession
from hud.store.summary import summarise_job

_SCANNED_AT_ONCE = 64
_MEMBER = RUN_COLUMNS.index("member")
_KEY = ("team", "id")

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
        self._spans: list[tuple[Any, ...]] = []
        self._debug_spans: list[tuple[Any, ...]] = []
        self._kept: list[tuple[Any, ...]] = []
        self._ends: list[tuple[Any, ...]] = []
        self._marks: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._audit: list[tuple[Any, ...]] = []
        self._heard: dict[tuple[str, str], int] = {}
        self._uncounted: list[tuple[str, str]] = []
        self._jobless: set[tuple[str, str]] = set()
        self._touched: set[tuple[str, str]] = set()
        self._job_ends: list[JobEnd] = []

    def write(self, session: Session, entries: Sequence[Entry]) -> None:
        """Put all of `entries` into the open transaction of `session`, blob files first."""
        self._clear()
        for start in range(0, len(entries), _SCANNED_AT_ONCE):
            group = entries[start : start + _SCANNED_AT_ONCE]
            is_clean = _is_clean(group)
            for entry in group:
                # Inside a batch only the order of a job's own beginnings and ends matters.
                if self._job_ends and isinstance(entry, Values):
                    self._execute(session)
                    self._clear()
                self._add(entry, is_clean)
        self._execute(session)
        self._clear()

    def write_singly(self, session: SqliteSession, entries: Sequence[Entry]) -> None:
        """Do as `write`, leaving out what cannot be written; `rejected` then says what."""
        self.rejected = None
        for entry in entries:
            session.connection.execute("SAVEPOINT one")
            try:
                self.write(session, [entry])
            except UNWRITABLE as error:
                session.connection.execute("ROLLBACK TO one")
                self.rejected = StoreError(
                    f"a {_kind(entry)} cannot be stored and was left out: "
                    f"{bounded(str(error), 200)}"
                )
                self.rejected.__cause__ = error
            session.connection.execute("RELEASE one")

    def _add(self, entry: Entry, is_clean: bool) -> None:
        match entry:
            case StepRow():
                self._add_step(entry, is_clean)
            case Values():
                self._add_values(entry, entry.values if is_clean else _cleaned(entry))
            case JobEnd():
                self._job_ends.append(entry)
            case BlobRow():
                self._keep(entry.team, entry.content, entry.media_type)
            case DebugSpanRow():
                self._add_debug_span(entry, is_clean)
            case JobHeard():
                key = (entry.team, entry.id)
                self._heard[key] = max(entry.heard_at, self._heard.get(key, entry.heard_at))
            case RunMark():
                self._add_mark(entry)

    def _add_values(self, entry: Values, values: tuple[Any, ...]) -> None:
        if entry.kind is RunStart:
            self._runs.append(values)
            if values[_MEMBER] == UNCOUNTED:
                self._uncounted.append((values[0], values[1]))
        elif entry.kind is RunEnd:
            self._ends.append(values)
            if not entry.job_id:
                self._jobless.add((values[0], values[1]))
        else:
            self._jobs.append(values)
        self._touched.add((entry.team, entry.job_id))

    def _add_step(self, row: StepRow, is_clean: bool) -> None:
        text, moved = self._shortened(row, is_clean)
        started_at, ended_at = row.started_at, row.ended_at
        step = (row.team, row.run_id, row.seq, row.source, started_at, ended_at, moved, text)
        if row.span_id is None:
            self._steps.append(step)
        else:
            self._spans.append((*step, row.span_id))

    def _add_debug_span(self, row: DebugSpanRow, is_clean: bool) -> None:
        text, moved = self._shortened(row, is_clean)
        name = row.name if is_clean else _cleaned_text(row.name, is_document=False)
        moments = (row.started_at, row.ended_at)
        self._debug_spans.append((row.team, row.run_id, row.span_id, name, *moments, moved, text))

    def _add_mark(self, row: RunMark) -> None:
        reason, actor = row.invalid_reason, _cleaned_text(row.actor, is_document=False)
        if reason is not None:
            reason = _cleaned_text(reason, is_document=False)
        action = "run.mark_valid" if reason is None else "run.mark_invalid"
        self._marks[row.team, row.id] = (row.team, row.id, reason)
        self._audit.append((row.team, new_id(), row.marked_at, actor, action, row.id, reason))
        self._jobless.add((row.team, row.id))

    def _shortened(self, row: StepRow | DebugSpanRow, is_clean: bool) -> tuple[str, int]:
        """Return the payload as it is stored, and whether anything was moved out of it."""
        payload = row.payload if is_clean else redact_json(row.payload)
        moved = False
        if len(payload) > MEDIA_LIMIT_BYTES:

            def keep(content: bytes, media_type: str) -> str:
                return self._keep(row.team, content, media_type)

            payload, moved = move_out(payload, keep)
        return payload.decode("utf-8", "replace"), int(moved)

    def _keep(self, team: str, content: bytes, media_type: str) -> str:
        sha256 = self._blobs.write(content)
        now = time.time_ns() // 1000
        self._kept.append((team, sha256, len(content), media_type, now))
        return sha256

    def _execute(self, session: Session) -> None:
        session.change_rows(sql.INSERT_JOBS, JOB_COLUMNS, self._jobs)
        session.change_rows(sql.INSERT_RUNS, RUN_COLUMNS, self._runs)
        if self._uncounted:
            count_members(session, self._uncounted)
        session.change_rows(sql.INSERT_BLOBS, sql.BLOB_COLUMNS, self._kept)
        session.change_rows(sql.INSERT_STEPS, sql.STEP_COLUMNS, self._steps)
        if self._spans:
            spans.insert_spans(session, self._spans)
        session.change_rows(sql.INSERT_DEBUG_SPANS, sql.DEBUG_SPAN_COLUMNS, self._debug_spans)
        session.change_rows(sql.END_RUNS, RUN_END_COLUMNS, self._ends)
        session.change_rows(sql.MARK_RUNS, sql.MARK_COLUMNS, list(self._marks.values()))
        session.change_rows(sql.INSERT_AUDIT, sql.AUDIT_COLUMNS, self._audit)
        heard = [(*key, at) for key, at in sorted(self._heard.items())]
        session.change_rows(sql.HEAR_JOBS, sql.HEARD_COLUMNS, heard)
        if self._jobless:
            found = session.query_rows(sql.JOBS_OF_RUNS, _KEY, sorted(self._jobless))
            self._touched.update((team, job_id) for team, _, job_id in found)
        session.change_rows(sql.FORGET_SUMMARIES, _KEY, sorted(self._touched))
        for end in self._job_ends:
            summary = json.encode(summarise_job(session, end.team, end.id)).decode()
            session.change(
                sql.END_JOB,
                (end.status, end.ended_at, summary, end.worked_s, end.team, end.id),
            )


def _is_clean(entries: Sequence[Entry]) -> bool:
    """Tell whether nothing in `entries` needs a second look: one scan over all of their text."""
    texts: list[str] = []
    for entry in entries:
        if type(entry) is StepRow:
            texts.append(entry.payload.decode("utf-8", "replace"))
        elif type(entry) is DebugSpanRow:
            texts += (entry.payload.decode("utf-8", "replace"), entry.name)
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
