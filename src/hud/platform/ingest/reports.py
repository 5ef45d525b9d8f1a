"""Reports of jobs and runs become rows: a job began, a run began, a run ended.

They come at least once, in any order, before or after the spans they are about; ids come in either
spelling. Whether a run was graded is `verdict`'s matter.
"""

from __future__ import annotations

from typing import Any

from hud._core import json
from hud.platform.database import now_us
from hud.platform.identity import Caller
from hud.platform.ingest.lenient import count_of, moment_of, object_of, text_of
from hud.platform.ingest.verdict import Verdict
from hud.store import UNCOUNTED, JobRow, RunEnd, RunStart
from hud.trace.jsonl import span_trace_id

NAME_LIMIT = 500
_EXTRA_LIMIT_BYTES = 256 * 1024


def stored_id(text: Any) -> str | None:
    """Return the 32 hex digits under which an id is kept, whichever way a client spells it."""
    name = text.strip() if isinstance(text, str) else ""
    return span_trace_id(name) if 0 < len(name) <= 200 else None


def job_row(caller: Caller, job_id: str, report: dict[str, Any], taskset: str | None) -> JobRow:
    """Return the row of a job that began; `taskset` is the name that its taskset_id stands for."""
    now = now_us()
    return JobRow(
        team=caller.team,
        id=job_id,
        name=text_of(report.get("name"), NAME_LIMIT) or "",
        created_at=_past(report.get("created_at"), now),
        group_size=min(max(count_of(report.get("group")) or 1, 1), 1_000_000),
        taskset=taskset or text_of(report.get("taskset"), NAME_LIMIT),
        taskset_id=stored_id(report.get("taskset_id")),
        project_id=stored_id(report.get("project_id")),
        agent=text_of(report.get("agent"), NAME_LIMIT),
        model=text_of(report.get("model"), NAME_LIMIT),
        runtime=text_of(report.get("runtime"), NAME_LIMIT),
        heard_at=now,
        key_id=caller.key_id,
    )


def job_heard_of(caller: Caller, job_id: str) -> JobRow:
    """Return the row of a job that is only known by a run of it."""
    now = now_us()
    return JobRow(team=caller.team, id=job_id, created_at=now, heard_at=now, key_id=caller.key_id)


def run_start(caller: Caller, run_id: str, report: dict[str, Any]) -> RunStart:
    """Return the row of a run that began."""
    member = count_of(report.get("member"))
    attempt = count_of(report.get("attempt"))
    return RunStart(
        team=caller.team,
        id=run_id,
        job_id=stored_id(report.get("job_id")) or "",
        task_slug=text_of(report.get("task_slug"), NAME_LIMIT) or "",
        started_at=_past(report.get("started_at"), now_us()),
        task_id=text_of(report.get("task_id"), NAME_LIMIT),
        env=text_of(report.get("env"), NAME_LIMIT),
        member=UNCOUNTED if member is None else min(member, 2**31 - 1),
        attempt=min(max(attempt or 1, 1), 2**31 - 1),
        group_id=text_of(report.get("group_id"), NAME_LIMIT),
        model=text_of(report.get("model"), NAME_LIMIT),
        runtime=text_of(report.get("runtime"), NAME_LIMIT),
        task_digest=text_of(report.get("task_digest"), NAME_LIMIT),
        parent_id=stored_id(report.get("parent_trace_id")),
        extra=_document(report.get("extra")),
    )


def placeholder(team: str, run_id: str, started_at: int | None) -> RunStart:
    """Return the row that holds the place of a run which nobody said has begun."""
    now = now_us()
    return RunStart(
        team=team,
        id=run_id,
        job_id="",
        task_slug="",
        started_at=now if started_at is None else min(started_at, now),
        member=UNCOUNTED,
    )


def run_end(caller: Caller, run_id: str, report: dict[str, Any], verdict: Verdict) -> RunEnd:
    """Return the row of a run that ended. What it used is counted from its steps."""
    return RunEnd(
        team=caller.team,
        id=run_id,
        job_id=stored_id(report.get("job_id")) or "",
        status=verdict.status,
        outcome=verdict.outcome,
        reward=verdict.reward,
        error=verdict.error,
        evaluation=verdict.evaluation,
        ended_at=_past(report.get("ended_at"), now_us()),
        stop_reason=text_of(report.get("stop_reason"), 100),
        extra=_document(report.get("metadata")),
    )


def _past(value: Any, now: int) -> int:
    moment = moment_of(value)
    return now if moment is None else min(moment, now)


def _document(value: Any) -> dict[str, Any] | None:
    document = object_of(value)
    if document is None:
        return None
    size = len(json.encode(document))
    return document if size <= _EXTRA_LIMIT_BYTES else {"truncated": True, "size_bytes": size}
