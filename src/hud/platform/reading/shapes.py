"""Jobs and runs as the API spells them.

A reward is a number when, and only when, the run was graded. Times are ISO-8601, ids plain.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from hud._core.outcome import Outcome
from hud.platform.times import iso, iso_required
from hud.store import JobCounts, JobStatus, JobSummary, RunRecord

RunState = Literal["pending", "running", "interrupted", "completed", "error", "cancelled"]


class Counts(BaseModel):
    """What became of a job's members, each by its latest attempt; invalid ones count nowhere else.

    Attributes:
        runs: Members, however often they were tried.
        attempts: Every run of the job, retries included.
        running: Members without an outcome; of an interrupted job, those it left behind.
        ungraded: Members that ended without a reward, by what broke.
        mean_reward: Over the graded members.
        coverage: Graded members by all that count.
        lower_bound: The mean if everything without a reward were 0.
        upper_bound: The mean if it were 1.
    """

    runs: int
    attempts: int
    graded: int
    running: int
    ungraded: dict[str, int]
    invalid: int
    mean_reward: float | None
    coverage: float | None
    lower_bound: float | None
    upper_bound: float | None

    @classmethod
    def of(cls, counts: JobCounts) -> Counts:
        """Return the counts of a job."""
        counted = counts.runs - counts.invalid
        total = (counts.mean_reward or 0.0) * counts.graded
        return cls(
            runs=counts.runs,
            attempts=counts.attempts,
            graded=counts.graded,
            running=counts.running,
            ungraded={outcome.value: count for outcome, count in counts.ungraded.items()},
            invalid=counts.invalid,
            mean_reward=counts.mean_reward,
            coverage=counts.graded / counted if counted else None,
            lower_bound=total / counted if counted else None,
            upper_bound=(total + counted - counts.graded) / counted if counted else None,
        )


class JobItem(BaseModel):
    """One job.

    Attributes:
        is_reported: It is worked on somewhere else and known by what is heard of it.
        heard_at: When it was heard of last, of a reported one.
        worked_s: How long it was worked on, where that was said.
    """

    id: str
    name: str
    status: JobStatus
    created_at: str
    ended_at: str | None
    group_size: int
    taskset_name: str | None
    taskset_id: str | None
    project_id: str | None
    agent: str | None
    model: str | None
    runtime: str | None
    is_reported: bool
    heard_at: str | None
    worked_s: float | None
    counts: Counts

    @classmethod
    def of(cls, summary: JobSummary) -> JobItem:
        """Return a job as the API spells it."""
        job = summary.job
        return cls(
            id=job.id,
            name=job.name,
            status=job.status,
            created_at=iso_required(job.created_at),
            ended_at=iso(job.ended_at),
            group_size=job.group_size,
            taskset_name=job.taskset,
            taskset_id=job.taskset_id,
            project_id=job.project_id,
            agent=job.agent,
            model=job.model,
            runtime=job.runtime,
            is_reported=job.heard_at is not None,
            heard_at=iso(job.heard_at),
            worked_s=job.worked_s,
            counts=Counts.of(summary.counts),
        )


class Spent(BaseModel):
    """What all runs of a job used, retries included; the cost as of a run."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    llm_calls: int
    turns: int
    unpriced_turns: int
    cost_usd: float | None
    known_cost_usd: float | None


class RunItem(BaseModel):
    """One run.

    Attributes:
        status: `completed`, `error` and `cancelled` are final; `pending` waits for a worker;
            `interrupted` is a run that never ended and that nobody works on.
        outcome: `graded`, or what broke; null while it runs.
        reward: Null unless it was graded.
        cost_usd: Null when the price of any turn is unknown; `known_cost_usd` is what the others
            cost.
        invalid_reason: Why it does not count, said by a person.
    """

    id: str
    job_id: str | None
    task_slug: str
    task_id: str | None
    env: str | None
    member: int
    attempt: int
    group_id: str | None
    model: str | None
    runtime: str | None
    task_digest: str | None
    status: RunState
    outcome: Outcome | None
    reward: float | None
    error: str | None
    stop_reason: str | None
    created_at: str
    start_time: str
    end_time: str | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    llm_calls: int
    turns: int
    unpriced_turns: int
    cost_usd: float | None
    known_cost_usd: float | None
    parent_trace_id: str | None
    invalid_reason: str | None

    @classmethod
    def of(cls, run: RunRecord) -> RunItem:
        """Return a run as a listing spells it."""
        return cls(**_fields(run))


class RunDetail(RunItem):
    """One run with its grade and what its reporter said beside.

    Attributes:
        evaluation_result: The grade, as the environment gave it.
        metadata: What the reporter keeps with the run.
    """

    evaluation_result: dict[str, Any] | None
    metadata: dict[str, Any] | None

    @classmethod
    def of(cls, run: RunRecord) -> RunDetail:
        """Return a run with everything but its steps."""
        return cls(**_fields(run), evaluation_result=run.evaluation, metadata=run.extra)


def state_of(run: RunRecord) -> RunState:
    """Return how a run stands."""
    return "interrupted" if run.is_interrupted else run.status


def _fields(run: RunRecord) -> dict[str, Any]:
    started = iso_required(run.started_at)
    return {
        "id": run.id,
        "job_id": run.job_id or None,
        "task_slug": run.task_slug,
        "task_id": run.task_id,
        "env": run.env,
        "member": max(run.member, 0),
        "attempt": run.attempt,
        "group_id": run.group_id,
        "model": run.model,
        "runtime": run.runtime,
        "task_digest": run.task_digest,
        "status": state_of(run),
        "outcome": run.outcome,
        "reward": run.reward if run.outcome is Outcome.GRADED else None,
        "error": run.error,
        "stop_reason": run.stop_reason,
        "created_at": started,
        "start_time": started,
        "end_time": iso(run.ended_at),
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "cached_tokens": run.cached_tokens,
        "llm_calls": run.llm_calls,
        "turns": run.turns,
        "unpriced_turns": run.unpriced_turns,
        "cost_usd": run.cost_usd,
        "known_cost_usd": run.known_cost_usd,
        "parent_trace_id": run.parent_id,
        "invalid_reason": run.invalid_reason,
    }
