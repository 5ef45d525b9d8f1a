"""Rows as they wait in the writer's queue: taken apart at once, so that nobody changes them.

What is left for the writing thread is removing secrets and moving large values to blobs.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hud._core import json
from hud._core.outcome import Outcome
from hud.store.rows import (
    BlobRow,
    DebugSpanRow,
    JobCounted,
    JobEnd,
    JobHeard,
    JobRow,
    JsonObject,
    Row,
    RunEnd,
    RunMark,
    RunStart,
    StepRow,
)

JOB_COLUMNS = (
    "team",
    "id",
    "name",
    "status",
    "created_at",
    "group_size",
    "taskset",
    "agent",
    "model",
    "runtime",
    "spec",
    "heard_at",
    "taskset_id",
    "project_id",
    "key_id",
)
RUN_COLUMNS = (
    "team",
    "id",
    "job_id",
    "task_slug",
    "task_id",
    "env",
    "member",
    "attempt",
    "group_id",
    "model",
    "runtime",
    "task_digest",
    "status",
    "started_at",
    "parent_id",
    "extra",
)
RUN_END_COLUMNS = (
    "team",
    "id",
    "status",
    "outcome",
    "reward",
    "stop_reason",
    "error",
    "ended_at",
    "evaluation",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "llm_calls",
    "cost_usd",
    "turns",
    "unpriced_turns",
    "known_cost_usd",
    "extra",
)


class Values(msgspec.Struct, frozen=True, gc=False):
    """A row as the values of its statement, taken when it was put, not yet redacted."""

    kind: type[JobRow] | type[RunStart] | type[RunEnd]
    team: str
    job_id: str
    values: tuple[Any, ...]


Kept = StepRow | DebugSpanRow | BlobRow | JobHeard | JobEnd | JobCounted | RunMark
Entry = Values | Kept


def entry_of(row: Row) -> Entry:
    """Return what to queue for `row`: nothing in it can be changed by the caller any more.

    Raises:
        TypeError: when a document of the row has no JSON form.
    """
    match row:
        case StepRow() | DebugSpanRow() | BlobRow():
            return row
        case JobHeard() | JobEnd() | JobCounted() | RunMark():
            return row
        case RunStart():
            values = (
                row.team,
                row.id,
                row.job_id,
                row.task_slug,
                row.task_id,
                row.env,
                row.member,
                row.attempt,
                row.group_id,
                row.model,
                row.runtime,
                row.task_digest,
                "pending" if row.is_pending else "running",
                row.started_at,
                row.parent_id,
                _document(row.extra),
            )
            return Values(RunStart, row.team, row.job_id, values)
        case RunEnd():
            reward = row.reward if row.outcome is Outcome.GRADED else None
            values = (
                row.team,
                row.id,
                row.status,
                row.outcome.value,
                reward,
                row.stop_reason,
                row.error,
                row.ended_at,
                _document(row.evaluation),
                row.prompt_tokens,
                row.completion_tokens,
                row.cached_tokens,
                row.llm_calls,
                row.cost_usd,
                row.turns,
                row.unpriced_turns,
                row.known_cost_usd,
                _document(row.extra),
            )
            return Values(RunEnd, row.team, row.job_id, values)
        case JobRow():
            values = (
                row.team,
                row.id,
                row.name,
                "running",
                row.created_at,
                row.group_size,
                row.taskset,
                row.agent,
                row.model,
                row.runtime,
                _document(row.spec),
                row.heard_at,
                row.taskset_id,
                row.project_id,
                row.key_id,
            )
            return Values(JobRow, row.team, row.id, values)


def _document(value: JsonObject | None) -> str | None:
    return None if value is None else json.encode(value).decode()


def _document_columns(columns: tuple[str, ...]) -> frozenset[int]:
    names = ("spec", "evaluation", "extra")
    return frozenset(at for at, name in enumerate(columns) if name in names)


DOCUMENTS = {
    JobRow: _document_columns(JOB_COLUMNS),
    RunStart: _document_columns(RUN_COLUMNS),
    RunEnd: _document_columns(RUN_END_COLUMNS),
}
"""Which of a kind's values are JSON documents."""
