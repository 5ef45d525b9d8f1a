"""What the store gives back: frozen records of jobs, runs and steps.

Times are integer microseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hud._core.outcome import Outcome
from hud.store.rows import JobStatus, RunStatus


@dataclass(frozen=True, slots=True)
class JobCounts:
    """What became of a job's members, each by its latest attempt.

    Attributes:
        runs: Members, however often they were tried.
        attempts: Every run of the job, retries included.
        graded: Members with a reward.
        running: Members without an outcome yet; of an interrupted job, those it left behind.
        ungraded: Members that ended without a reward, by outcome.
        mean_reward: Mean over the graded members; None when there are none.
        invalid: Members a person said must not count; they are in none of the other kinds.
    """

    runs: int
    attempts: int
    graded: int
    running: int
    ungraded: dict[Outcome, int]
    mean_reward: float | None
    invalid: int = 0


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job. `status` is `interrupted` when it never ended and nobody works on it now.

    Attributes:
        worked_s: How long it was worked on until it ended last; None when nobody said.
        heard_at: When something was last heard of a reported job; None for one that is worked on
            beside this store. Nobody reports an end: such a job is running while a run of it is
            unfinished and it was heard within `SILENCE_S`, and completed when all runs ended.
        key_id: Who reported it.
    """

    id: str
    team: str
    name: str
    status: JobStatus
    created_at: int
    ended_at: int | None
    group_size: int
    taskset: str | None
    agent: str | None
    model: str | None
    runtime: str | None
    spec: dict[str, Any] | None
    worked_s: float | None = None
    heard_at: int | None = None
    taskset_id: str | None = None
    project_id: str | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One job of a listing, without its `spec`, with its counts."""

    job: JobRecord
    counts: JobCounts


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run.

    Attributes:
        cost_usd: What all of its turns cost; None when the price of any is unknown.
        turns: Model turns.
        unpriced_turns: Those whose price is unknown.
        known_cost_usd: What the others cost; None when there are none.
        parent_id: The run it came out of.
        invalid_reason: Why a person said that it must not count; None for a run that counts.
        is_interrupted: It never ended, and nobody works on its job any more.
    """

    id: str
    team: str
    job_id: str
    task_slug: str
    task_id: str | None
    env: str | None
    member: int
    attempt: int
    group_id: str | None
    model: str | None
    runtime: str | None
    task_digest: str | None
    status: RunStatus
    outcome: Outcome | None
    reward: float | None
    stop_reason: str | None
    error: str | None
    started_at: int
    ended_at: int | None
    evaluation: dict[str, Any] | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    llm_calls: int
    cost_usd: float | None
    extra: dict[str, Any] | None
    turns: int = 0
    unpriced_turns: int = 0
    known_cost_usd: float | None = None
    parent_id: str | None = None
    invalid_reason: str | None = None
    is_interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """The latest attempt at one member of one task: what a resume needs to know of it."""

    run_id: str
    task_slug: str
    member: int
    attempt: int
    outcome: Outcome | None
    reward: float | None
    task_digest: str | None
    invalid_reason: str | None = None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step; `payload` is the JSON document that was recorded, redacted.

    `span_id` is the span it was reported in, None for one that was recorded beside this store.
    """

    run_id: str
    seq: int
    source: str | None
    started_at: int | None
    ended_at: int | None
    payload: bytes
    span_id: str | None = None


@dataclass(frozen=True, slots=True)
class DebugSpanRecord:
    """One span that is no step; `payload` is the JSON document that was recorded, redacted."""

    run_id: str
    span_id: str
    name: str
    started_at: int | None
    ended_at: int | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """What is known of one blob of a team; `created_at` is about when it was stored last."""

    sha256: str
    size_bytes: int
    media_type: str
    created_at: int
