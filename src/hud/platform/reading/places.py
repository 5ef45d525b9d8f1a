"""Where a page of a listing begins, and how many rows there are in all.

The rows themselves are the store's; a client that counts pages by offset is served too.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from hud.store import JobFilter, JobRecord, RunFilter, RunRecord
from hud.store.schema import jobs, runs

COUNTED_AT_MOST = 100_000
"""More runs than this are not counted for a listing: that takes longer than reading a page."""

_COUNTS = (
    *("prompt_tokens", "completion_tokens", "cached_tokens"),
    *("llm_calls", "turns", "unpriced_turns"),
)


def _jobs_like(team: str, filters: JobFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [jobs.c.team == team]
    for name in ("taskset", "taskset_id", "project_id", "model"):
        value = getattr(filters, name)
        if value is not None:
            found.append(jobs.c[name] == value)
    if filters.name is not None:
        found.append(func.lower(jobs.c.name).contains(filters.name.lower(), autoescape=True))
    return found


def _runs_like(team: str, filters: RunFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [runs.c.team == team]
    for name in ("job_id", "status", "outcome", "model", "env", "task_slug"):
        value = getattr(filters, name)
        if value is not None:
            found.append(runs.c[name] == str(value))
    if filters.status == "running":
        found.append(runs.c.ended_at.is_(None))
    if filters.since is not None:
        found.append(runs.c.started_at >= filters.since)
    if filters.until is not None:
        found.append(runs.c.started_at < filters.until)
    return found


def count_jobs(connection: Connection, team: str, filters: JobFilter) -> int | None:
    """Return how many jobs there are; None with a status, which is not in the database alone."""
    if filters.status is not None:
        return None
    query = select(func.count()).select_from(jobs).where(*_jobs_like(team, filters))
    return connection.execute(query).scalar_one()


def count_runs(connection: Connection, team: str, filters: RunFilter) -> int | None:
    """Return how many runs there are, None for more than `COUNTED_AT_MOST`."""
    some = select(runs.c.id).where(*_runs_like(team, filters)).limit(COUNTED_AT_MOST + 1)
    count = connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()
    return None if count > COUNTED_AT_MOST else count


def count_runs_of(connection: Connection, team: str, job_id: str) -> int:
    """Return how many runs a job has, retries included."""
    query = select(func.count()).select_from(runs)
    return connection.execute(
        query.where(runs.c.team == team, runs.c.job_id == job_id)
    ).scalar_one()


def job_before(
    connection: Connection, team: str, filters: JobFilter, offset: int
) -> JobRecord | None:
    """Return the last of the first `offset` jobs, as `list_jobs` takes it; None beyond the end."""
    row = connection.execute(
        select(jobs.c.created_at, jobs.c.id)
        .where(*_jobs_like(team, filters))
        .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
        .limit(1)
        .offset(offset - 1)
    ).one_or_none()
    return None if row is None else job_place(row.created_at, row.id)


def run_before(
    connection: Connection, team: str, filters: RunFilter, offset: int
) -> RunRecord | None:
    """Return the last of the first `offset` runs, as `list_runs` takes it; None beyond the end."""
    row = connection.execute(
        select(runs.c.started_at, runs.c.id)
        .where(*_runs_like(team, filters))
        .order_by(runs.c.started_at.desc(), runs.c.id.desc())
        .limit(1)
        .offset(offset - 1)
    ).one_or_none()
    return None if row is None else run_place(started_at=row.started_at, run_id=row.id)


def run_of_job_before(
    connection: Connection, team: str, job_id: str, offset: int
) -> RunRecord | None:
    """Return the last of the first `offset` runs of a job, as `runs_of` takes it."""
    order = (runs.c.task_slug, runs.c.member, runs.c.attempt, runs.c.id)
    row = connection.execute(
        select(*order)
        .where(runs.c.team == team, runs.c.job_id == job_id)
        .order_by(*order)
        .limit(1)
        .offset(offset - 1)
    ).one_or_none()
    if row is None:
        return None
    return run_place(run_id=row.id, task_slug=row.task_slug, member=row.member, attempt=row.attempt)


def job_place(created_at: int, job_id: str) -> JobRecord:
    """Return a place among jobs in the form in which the store takes it; not a job."""
    return JobRecord(
        id=job_id,
        team="",
        name="",
        status="running",
        created_at=created_at,
        ended_at=None,
        group_size=1,
        taskset=None,
        agent=None,
        model=None,
        runtime=None,
        spec=None,
    )


def run_place(
    *,
    run_id: str,
    started_at: int = 0,
    task_slug: str = "",
    member: int = 0,
    attempt: int = 1,
) -> RunRecord:
    """Return a place among runs in the form in which the store takes it; not a run."""
    return RunRecord(
        id=run_id,
        team="",
        job_id="",
        task_slug=task_slug,
        task_id=None,
        env=None,
        member=member,
        attempt=attempt,
        group_id=None,
        model=None,
        runtime=None,
        task_digest=None,
        status="running",
        outcome=None,
        reward=None,
        stop_reason=None,
        error=None,
        started_at=started_at,
        ended_at=None,
        evaluation=None,
        prompt_tokens=0,
        completion_tokens=0,
        cached_tokens=0,
        llm_calls=0,
        cost_usd=None,
        extra=None,
    )


def totals_of(connection: Connection, team: str, job_id: str) -> dict[str, Any]:
    """Return what all runs of a job used together, retries included."""
    sums = [func.coalesce(func.sum(runs.c[name]), 0) for name in _COUNTS]
    *counts, cost = connection.execute(
        select(*sums, func.sum(runs.c.known_cost_usd)).where(
            runs.c.team == team, runs.c.job_id == job_id
        )
    ).one()
    found: dict[str, Any] = {name: int(count) for name, count in zip(_COUNTS, counts, strict=True)}
    is_known = not found["unpriced_turns"]
    return {**found, "known_cost_usd": cost, "cost_usd": cost if is_known else None}
