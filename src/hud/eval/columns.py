"""The columns that runs and steps have outside the store: names, kinds, and where each comes from.

One definition for data frames, Parquet, JSON lines and CSV. What is not known is None: an
ungraded run has no reward, a turn of unknown price no cost. Reading is `reading`, writing
`tabular`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, cast

from hud._core import json
from hud.eval.spending import Spent, usages_in
from hud.store import JobRecord, RunRecord, StepRecord

Kind = Literal["text", "category", "int", "float", "bool", "time"]
"""`category` is text of few different values, `time` integer microseconds since the epoch."""

Batch = dict[str, list[Any]]
"""Columns of equal length, by name."""

_INT64 = 1 << 63
_YEAR_10000 = 253_402_300_800_000_000


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run with the job it belongs to; `is_latest` when no later attempt replaced it."""

    run: RunRecord
    job: JobRecord
    is_latest: bool


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step with its run, its payload taken apart."""

    step: StepRecord
    run: RunRecord
    payload: Mapping[str, Any]
    spent: Spent


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, what it holds, and what it says in one line."""

    name: str
    kind: Kind
    about: str
    value: Callable[[Any], Any]


def _seconds(began: int | None, ended: int | None) -> float | None:
    return None if began is None or ended is None else (ended - began) / 1e6


def _known_cost(row: RunRow) -> float | None:
    return _finite(row.run.known_cost_usd)


def _finite(value: object) -> float | None:
    """Return a number as a float; None for what is none, or is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _run_moment(name: str) -> Callable[[RunRow], Any]:
    return lambda row: moment(getattr(row.run, name))


def _step_moment(name: str) -> Callable[[StepRow], Any]:
    return lambda row: moment(getattr(row.step, name))


def moment(micros: int | None) -> int | None:
    """Return a time, None for one that no calendar has: what a reporter says may be anything."""
    return micros if micros is not None and 0 <= micros < _YEAR_10000 else None


RUN_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "text", "id of the run, which is the id of its trace", attrgetter("run.id")),
    Column("job_id", "category", "the job it belongs to", attrgetter("run.job_id")),
    Column("job_name", "category", "the job's name", attrgetter("job.name")),
    Column("taskset", "category", "the taskset of the job", attrgetter("job.taskset")),
    Column("agent", "category", "the job's agent", attrgetter("job.agent")),
    Column("model", "category", "the model", lambda row: row.run.model or row.job.model),
    Column("runtime", "category", "where it ran", lambda row: row.run.runtime or row.job.runtime),
    Column("env", "category", "the environment", attrgetter("run.env")),
    Column("task", "category", "slug of the task", attrgetter("run.task_slug")),
    Column("task_id", "category", "the template it was minted from", attrgetter("run.task_id")),
    Column("task_digest", "category", "version of the task", attrgetter("run.task_digest")),
    Column("member", "int", "which repeat of the task, from 0", attrgetter("run.member")),
    Column("attempt", "int", "which attempt at the member, from 1", attrgetter("run.attempt")),
    Column("is_latest", "bool", "no later attempt replaced it", attrgetter("is_latest")),
    Column("group_id", "text", "shared by the repeats of a task", attrgetter("run.group_id")),
    Column("status", "category", "how it stands", attrgetter("run.status")),
    Column(
        "outcome",
        "category",
        "graded, or the boundary that broke; none while it runs",
        lambda row: None if row.run.outcome is None else row.run.outcome.value,
    ),
    Column("reward", "float", "none unless it is graded", lambda row: _finite(row.run.reward)),
    Column("stop_reason", "category", "why the agent stopped", attrgetter("run.stop_reason")),
    Column("error", "text", "what broke", attrgetter("run.error")),
    Column("invalid_reason", "text", "why it must not count", attrgetter("run.invalid_reason")),
    Column("started_at", "time", "when it began", _run_moment("started_at")),
    Column("ended_at", "time", "when it ended", _run_moment("ended_at")),
    Column(
        "duration_s",
        "float",
        "seconds between the two",
        lambda row: _seconds(row.run.started_at, row.run.ended_at),
    ),
    Column("prompt_tokens", "int", "tokens read", attrgetter("run.prompt_tokens")),
    Column("completion_tokens", "int", "tokens written", attrgetter("run.completion_tokens")),
    Column("cached_tokens", "int", "of those read, from a cache", attrgetter("run.cached_tokens")),
    Column("llm_calls", "int", "calls of a model API", attrgetter("run.llm_calls")),
    Column("turns", "int", "turns of a model", attrgetter("run.turns")),
    Column("unpriced_turns", "int", "turns of unknown price", attrgetter("run.unpriced_turns")),
    Column(
        "cost_usd",
        "float",
        "what it cost; none when any turn's price is unknown",
        lambda row: None if row.run.unpriced_turns else _known_cost(row),
    ),
    Column("known_cost_usd", "float", "what the turns of known price cost", _known_cost),
)
"""What a table of runs has."""


def step_row(step: StepRecord, run: RunRecord) -> StepRow:
    """Take a recorded step apart; a payload that is none has no values."""
    try:
        found = json.decode(step.payload)
    except ValueError:
        found = None
    payload = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    spent = Spent()
    for usage in usages_in(payload):
        spent.add_turn(usage)
    return StepRow(step, run, payload, spent)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _payload_text(name: str) -> Callable[[StepRow], Any]:
    return lambda row: _text(row.payload.get(name))


def _tokens(name: str) -> Callable[[StepRow], Any]:
    def read(row: StepRow) -> int | None:
        value: int = getattr(row.spent, name)
        return value if row.spent.llm_calls and abs(value) < _INT64 else None

    return read


def _source(row: StepRow) -> str | None:
    return row.step.source or _text(row.payload.get("source"))


def _tool(row: StepRow) -> str | None:
    call = row.payload.get("call")
    return _text(cast("dict[str, Any]", call).get("name")) if isinstance(call, dict) else None


def _is_error(row: StepRow) -> bool:
    result = row.payload.get("result")
    has_failed = isinstance(result, dict) and bool(cast("dict[str, Any]", result).get("isError"))
    return has_failed or _text(row.payload.get("error")) is not None


def _tool_calls(row: StepRow) -> int | None:
    calls = row.payload.get("tool_calls")
    if _source(row) != "agent":
        return None
    return len(cast("list[Any]", calls)) if isinstance(calls, list) else 0


STEP_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "text", "the run it belongs to", attrgetter("run.id")),
    Column("job_id", "category", "the run's job", attrgetter("run.job_id")),
    Column("task", "category", "slug of the run's task", attrgetter("run.task_slug")),
    Column("seq", "int", "number of the step in its run, rising", attrgetter("step.seq")),
    Column(
        "source",
        "category",
        "user, agent, tool, task, subagent, system or robot",
        _source,
    ),
    Column("started_at", "time", "when it began", _step_moment("started_at")),
    Column("ended_at", "time", "when it ended", _step_moment("ended_at")),
    Column(
        "duration_s",
        "float",
        "seconds between the two",
        lambda row: _seconds(row.step.started_at, row.step.ended_at),
    ),
    Column("model", "category", "the model of an agent's turn", _payload_text("model")),
    Column("prompt_tokens", "int", "tokens read in the step's turns", _tokens("prompt_tokens")),
    Column("completion_tokens", "int", "tokens written", _tokens("completion_tokens")),
    Column("cached_tokens", "int", "of those read, from a cache", _tokens("cached_tokens")),
    Column(
        "cost_usd",
        "float",
        "what its turns cost; none when any price is unknown",
        lambda row: _finite(row.spent.cost_usd),
    ),
    Column("finish_reason", "category", "why the model stopped", _payload_text("finish_reason")),
    Column("tool_calls", "int", "tools an agent's turn called", _tool_calls),
    Column("tool", "category", "the tool that was called", _tool),
    Column("is_error", "bool", "whether it failed", _is_error),
    Column("error", "text", "what failed", _payload_text("error")),
    Column("content", "text", "what the agent wrote", _payload_text("content")),
)
"""What a table of steps has."""

PAYLOAD_COLUMN = Column(
    "payload",
    "text",
    "the whole step as JSON",
    lambda row: row.step.payload.decode("utf-8", "replace"),
)
"""The step itself, where it was asked for."""


def batch_of(columns: Sequence[Column], rows: Sequence[Any]) -> Batch:
    """Return rows as columns."""
    return {column.name: list(map(column.value, rows)) for column in columns}
