"""A queue of rows as few SQL statements, inside one transaction of one connection.

What the statements say is in `statements`; here is which rows go into which, cleaned of secrets
and with large values moved out.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hud._core import json
from hud._core.redact import is_suspect_json, redact, redact_json, redact_json_text
from hud.store import spans
from hud.store import statements as sql
from hud.store.blobs import Blobs
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
    JobCounted,
    JobEnd,
    JobHeard,
    RunEnd,
    RunMark,
    RunStart,
    StepRow,
    Used,
)
from hud.store.session import Session
from hud.store.summary import summarise_job
from hud.store.usage import usage_by_run

_SCANNED_AT_ONCE = 64
_MEMBER = RUN_COLUMNS.index("member")
_KEY = ("team", "id")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


class Batch:
    """Rows on their way into one database, grouped by what becomes of them.

    Making it takes the rows apart; `keep_blobs` and then `write` put them where they belong. All
    of it may be done again: writing the same rows twice changes nothing.

    Attributes:
        jobs: After `write`, the jobs of runs whose rows do not say it, by team and run.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.jobs: dict[tuple[str, str], str] = {}
        self._groups = [_Group()]
        self._contents: dict[str, bytes] = {}
        for start in range(0, len(entries), _SCANNED_AT_ONCE):
            some = entries[start : start + _SCANNED_AT_ONCE]
            is_clean = _is_clean(some)
            for entry in some:
                # Only the order of a job's own beginnings and ends matters.
                if self._groups[-1].job_ends and isinstance(entry, Values):
                    self._groups.append(_Group())
                self._add(self._groups[-1], entry, is_clean)

    def keep_blobs(self, blobs: Blobs) -> None:
        """Store the contents that the rows refer to, which has to be done before `write`."""
        if self._contents:
            blobs.write_all(self._contents)

    def write(self, session: Session) -> None:
        """Put everything into the open transaction of `session`."""
        for group in self._groups:
            self.jobs.update(group.write(session))

    def _add(self, group: _Group, entry: Entry, is_clean: bool) -> None:
        match entry:
            case StepRow():
                text, moved = self._shortened(group, entry, is_clean)
                group.add_step(entry, text, moved)
            case Values():
                group.add_values(entry, entry.values if is_clean else _cleaned(entry))
            case JobEnd():
                group.job_ends.append(entry)
            case BlobRow():
                self._keep(group, entry.team, entry.content, entry.media_type)
            case DebugSpanRow():
                text, moved = self._shortened(group, entry, is_clean)
                name = entry.name if is_clean else _cleaned_text(entry.name)
                group.add_debug_span(entry, name, text, moved)
            case JobHeard():
                group.add_heard(entry)
            case JobCounted():
                group.counted.add((entry.team, entry.id))
            case RunMark():
                reason = entry.invalid_reason
                reason = None if reason is None else _cleaned_text(reason)
                group.add_mark(entry, reason, _cleaned_text(entry.actor))

    def _shortened(
        self, group: _Group, row: StepRow | DebugSpanRow, is_clean: bool
    ) -> tuple[str, int]:
        """Return the payload as it is stored, and whether anything was moved out of it."""
        payload = row.payload if is_clean else _without_nul(redact_json(row.payload))
        moved = False
        if len(payload) > MEDIA_LIMIT_BYTES:

            def keep(content: bytes, media_type: str) -> str:
                return self._keep(group, row.team, content, media_type)

            payload, moved = move_out(payload, keep)
        return payload.decode("utf-8", "replace"), int(moved)

    def _keep(self, group: _Group, team: str, content: bytes, media_type: str) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        self._contents[sha256] = content
        group.add_blob(team, sha256, len(content), media_type)
        return sha256


class _Group:
    """Rows that are written together, each kind at once."""

    def __init__(self) -> None:
        self.job_ends: list[JobEnd] = []
        self.counted: set[tuple[str, str]] = set()
        self._jobs: list[tuple[Any, ...]] = []
        self._runs: list[tuple[Any, ...]] = []
        self._steps: list[tuple[Any, ...]] = []
        self._spans: list[tuple[Any, ...]] = []
        self._used: dict[spans.SpanKey, Used] = {}
        self._debug_spans: list[tuple[Any, ...]] = []
        self._blobs: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._ends: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._marks: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._audit: list[tuple[Any, ...]] = []
        self._heard: dict[tuple[str, str], int] = {}
        self._uncounted: list[tuple[str, str]] = []
        self._jobless: set[tuple[str, str]] = set()
        self._touched: set[tuple[str, str]] = set()

    def add_values(self, entry: Values, values: tuple[Any, ...]) -> None:
        key = (values[0], values[1])
        if entry.kind is RunStart:
            self._runs.append(values)
            if values[_MEMBER] == UNCOUNTED:
                self._uncounted.append(key)
        elif entry.kind is RunEnd:
            self._ends.setdefault(key, values)
            if not entry.job_id:
                self._jobless.add(key)
        else:
            self._jobs.append(values)
        self._touched.add((entry.team, entry.job_id))

    def add_step(self, row: StepRow, text: str, moved: int) -> None:
        started_at, ended_at = row.started_at, row.ended_at
        step = (row.team, row.run_id, row.seq, row.source, started_at, ended_at, moved, text)
        if row.span_id is None:
            self._steps.append(step)
        else:
            self._spans.append((*step, row.span_id))
            if row.used is not None:
                self._used[row.team, row.run_id, row.span_id] = row.used

    def add_debug_span(self, row: DebugSpanRow, name: str, text: str, moved: int) -> None:
        moments = (row.started_at, row.ended_at)
        self._debug_spans.append((row.team, row.run_id, row.span_id, name, *moments, moved, text))

    def add_blob(self, team: str, sha256: str, size: int, media_type: str) -> None:
        now = time.time_ns() // 1000
        self._blobs.setdefault((team, sha256), (team, sha256, size, media_type, now))

    def add_heard(self, row: JobHeard) -> None:
        key = (row.team, row.id)
        self._heard[key] = max(row.heard_at, self._heard.get(key, row.heard_at))

    def add_mark(self, row: RunMark, reason: str | None, actor: str) -> None:
        action = "run.mark_valid" if reason is None else "run.mark_invalid"
        self._marks[row.team, row.id] = (row.team, row.id, reason)
        detail = None if reason is None else json.encode({"reason": reason}).decode()
        self._audit.append((row.team, row.mark_id, row.marked_at, actor, action, row.id, detail))
        self._jobless.add((row.team, row.id))

    def write(self, session: Session) -> dict[tuple[str, str], str]:
        """Write everything; return the jobs of those runs whose rows did not say it."""
        for rows in _rounds(self._jobs):
            session.change_rows(sql.INSERT_JOBS, JOB_COLUMNS, rows)
        for rows in _rounds(self._runs):
            session.change_rows(sql.INSERT_RUNS, RUN_COLUMNS, rows)
        if self._uncounted:
            count_members(session, self._uncounted)
        session.change_rows(sql.INSERT_BLOBS, sql.BLOB_COLUMNS, list(self._blobs.values()))
        session.change_rows(sql.INSERT_STEPS, sql.STEP_COLUMNS, self._steps)
        if self._spans:
            inserted = spans.insert_spans(session, self._spans)
            used = usage_by_run(self._used, inserted) if self._used else []
            session.change_rows(sql.ADD_USAGE, sql.USAGE_COLUMNS, used)
        session.change_rows(sql.INSERT_DEBUG_SPANS, sql.DEBUG_SPAN_COLUMNS, self._debug_spans)
        session.change_rows(sql.END_RUNS, RUN_END_COLUMNS, list(self._ends.values()))
        session.change_rows(sql.MARK_RUNS, sql.MARK_COLUMNS, list(self._marks.values()))
        session.change_rows(sql.INSERT_AUDIT, sql.AUDIT_COLUMNS, self._audit)
        heard = [(*key, at) for key, at in self._heard.items()]
        session.change_rows(sql.HEAR_JOBS, sql.HEARD_COLUMNS, heard)
        jobs: dict[tuple[str, str], str] = {}
        if self._jobless:
            found = session.query_rows(sql.JOBS_OF_RUNS, _KEY, sorted(self._jobless))
            jobs = {(team, run_id): job_id for team, run_id, job_id in found}
            self._touched.update((team, job_id) for team, _, job_id in found)
        session.change_rows(sql.FORGET_SUMMARIES, _KEY, sorted(self._touched))
        for team, job_id in sorted(self.counted):
            summary = json.encode(summarise_job(session, team, job_id)).decode()
            session.change(sql.KEEP_COUNTS, (summary, team, job_id))
        for end in self.job_ends:
            summary = json.encode(summarise_job(session, end.team, end.id)).decode()
            session.change(
                sql.END_JOB, (end.status, end.ended_at, summary, end.worked_s, end.team, end.id)
            )
        return jobs


def _rounds(rows: list[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    """Return `rows` in as many parts as a key (team, id) occurs, no key twice in any of them."""
    if len({(row[0], row[1]) for row in rows}) == len(rows):
        return [rows] if rows else []
    rounds: list[dict[tuple[str, str], tuple[Any, ...]]] = []
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        key = (row[0], row[1])
        if seen[key] == len(rounds):
            rounds.append({})
        rounds[seen[key]][key] = row
        seen[key] += 1
    return [list(part.values()) for part in rounds]


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
    return text.isascii() and "\0" not in text and not is_suspect_json(text)


def _cleaned(entry: Values) -> tuple[Any, ...]:
    """Return the values of `entry` without secrets and in a form every database takes."""
    documents = DOCUMENTS[entry.kind]
    return tuple(
        [
            value
            if type(value) is not str
            else _cleaned_document(value)
            if at in documents
            else _cleaned_text(value)
            for at, value in enumerate(entry.values)
        ]
    )


def _cleaned_text(text: str) -> str:
    return _storable(redact(text))


def _cleaned_document(text: str) -> str:
    return _storable(redact_json_text(text))


def _storable(text: str) -> str:
    """Return `text` without what no database takes: half characters, and zeros."""
    text = text if text.isascii() else text.encode("utf-8", "replace").decode()
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _without_nul(payload: bytes) -> bytes:
    return payload.replace(b"\0", _REPLACEMENT) if b"\0" in payload else payload


def kind_of(entry: Entry) -> str:
    """Return what a message calls the row that `entry` was."""
    return (entry.kind if isinstance(entry, Values) else type(entry)).__name__
