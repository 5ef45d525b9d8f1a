"""Where steps go: the sink contract, and the events a recorder sends.

One file per sink elsewhere; `hud.testing.check_sink` runs any of them through the contract.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from hud._core.outcome import Outcome
from hud.trace.steps import TraceStatus


class RunStarted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt at one member of one task begins. Times are microseconds since the epoch."""

    trace_id: str
    job_id: str
    task_slug: str
    task_id: str
    env: str
    started_at: int
    member: int = 0
    attempt: int = 1
    group_id: str | None = None
    model: str | None = None
    runtime: str | None = None
    task_digest: str | None = None
    agent: str | None = None


class StepRecorded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One numbered, stamped step. `payload` is its JSON, already redacted."""

    trace_id: str
    seq: int
    source: str
    schema: str
    started_at: str
    ended_at: str
    payload: bytes
    error: str | None = None


class SpanRecorded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A debug span of `instrument`: for looking at, no part of the run's record."""

    trace_id: str
    span: dict[str, Any]


class RunEnded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run ended. `reward` is None unless the outcome is graded.

    `cost_usd` is None when the price of any turn is unknown; `known_cost_usd` is then what the
    others cost.
    """

    trace_id: str
    job_id: str
    status: TraceStatus
    outcome: Outcome
    ended_at: int
    reward: float | None = None
    stop_reason: str | None = None
    error: str | None = None
    evaluation: dict[str, Any] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    llm_calls: int = 0
    cost_usd: float | None = None
    turns: int = 0
    unpriced_turns: int = 0
    known_cost_usd: float | None = None
    extra: dict[str, Any] | None = None


Event = RunStarted | StepRecorded | SpanRecorded | RunEnded


class Sink(Protocol):
    """A destination for what runs do.

    `put` is called from the event loop, in order per trace, and must not block on I/O. `committed`
    returns once everything put before it is durable at this sink, and raises `StoreError` when
    that failed. `aclose` flushes, then releases what the sink holds; safe to call twice.
    """

    def put(self, event: Event) -> None: ...
    async def committed(self) -> None: ...
    async def aclose(self) -> None: ...
