"""Jobs and the runs in them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from hud.platform.accounts import audit
from hud.platform.cursors import decode_cursor, encode_cursor
from hud.platform.errors import ApiError
from hud.platform.identity import Admin, Reader
from hud.platform.ingest.reporting import intake_of
from hud.platform.reading import places
from hud.platform.reading.deleting import delete_job_records
from hud.platform.reading.finding import RecordId, find_job
from hud.platform.reading.shapes import JobItem, RunItem, Spent
from hud.platform.services import Services, services_of
from hud.store import JobFilter, JobRecord, JobStatus

router = APIRouter(prefix="/v2/jobs", tags=["jobs"])

Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]
Cursor = Annotated[str | None, Query(max_length=2000)]
Words = Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$")]
WholeId = Annotated[str | None, Query(max_length=64, pattern=r"^[0-9a-fA-F-]+$")]


class JobPage(BaseModel):
    """Jobs, newest first. `total` is null where it is not counted: with a status."""

    items: list[JobItem]
    total: int | None
    next_cursor: str | None


class JobDetail(JobItem):
    """A job with what it used."""

    used: Spent


class RunPage(BaseModel):
    """Runs of a job, by task, member and attempt."""

    items: list[RunItem]
    total: int
    next_cursor: str | None


class Deleted(BaseModel):
    """What is gone."""

    id: str
    runs: int


@router.get("")
def list_jobs(
    request: Request,
    caller: Reader,
    limit: Limit = 100,
    offset: Offset = 0,
    cursor: Cursor = None,
    name: Words = None,
    taskset: Words = None,
    taskset_id: WholeId = None,
    project_id: WholeId = None,
    model: Words = None,
    status: JobStatus | None = None,
) -> JobPage:
    """List jobs, newest first; `name` is what their name contains."""
    services = services_of(request)
    filters = JobFilter(
        name=name,
        taskset=taskset,
        taskset_id=_plain(taskset_id),
        project_id=_plain(project_id),
        model=model,
        status=status,
    )
    before = None
    with services.database.reading() as connection:
        total = places.count_jobs(connection, caller.team, filters)
        if cursor is not None:
            before = places.job_place(*decode_cursor(cursor, int, str))
        elif offset:
            before = places.job_before(connection, caller.team, filters, offset)
            if before is None:
                return JobPage(items=[], total=total, next_cursor=None)
    found = services.store.list_jobs(filters, limit=limit, before=before, team=caller.team)
    last = found[-1].job if len(found) == limit else None
    return JobPage(
        items=[JobItem.of(summary) for summary in found],
        total=total,
        next_cursor=None if last is None else encode_cursor(last.created_at, last.id),
    )


@router.get("/{job_id}")
def read_job(request: Request, caller: Reader, job_id: RecordId) -> JobDetail:
    """Show one job."""
    services = services_of(request)
    return detail_of(services, find_job(services, caller, job_id))


def detail_of(services: Services, job: JobRecord) -> JobDetail:
    """Return a job with its counts and what it used."""
    item = JobItem.of(services.store.summarise(job))
    with services.database.reading() as connection:
        used = places.totals_of(connection, job.team, job.id)
    return JobDetail(**item.model_dump(exclude={"counts"}), counts=item.counts, used=Spent(**used))


@router.get("/{job_id}/traces")
def list_runs_of_job(
    request: Request,
    caller: Reader,
    job_id: RecordId,
    limit: Limit = 100,
    offset: Offset = 0,
    cursor: Cursor = None,
) -> RunPage:
    """List the runs of a job, by task, member and attempt."""
    services = services_of(request)
    job = find_job(services, caller, job_id)
    after = None
    with services.database.reading() as connection:
        total = places.count_runs_of(connection, caller.team, job.id)
        if cursor is not None:
            slug, member, attempt, run_id = decode_cursor(cursor, str, int, int, str)
            # A member nobody counted yet stands at -1.
            after = places.run_place(
                run_id=run_id, task_slug=slug, member=member - 1, attempt=attempt
            )
        elif offset:
            after = places.run_of_job_before(connection, caller.team, job.id, offset)
            if after is None:
                return RunPage(items=[], total=total, next_cursor=None)
    runs = services.store.runs_of(job.id, after=after, limit=limit, team=caller.team)
    last = runs[-1] if len(runs) == limit else None
    return RunPage(
        items=[RunItem.of(run) for run in runs],
        total=total,
        next_cursor=None
        if last is None
        else encode_cursor(last.task_slug, last.member + 1, last.attempt, last.id),
    )


@router.delete("/{job_id}")
def delete_job(request: Request, caller: Admin, job_id: RecordId) -> Deleted:
    """Delete a job with its runs and everything in them; one that is worked on has to end first."""
    services = services_of(request)
    job = find_job(services, caller, job_id)
    if job.status == "running":
        raise ApiError(
            409, "this job is worked on", kind="conflict", hint="cancel it, then delete it"
        )
    count = delete_job_records(services.database, caller.team, job.id)
    with services.database.writing() as connection:
        audit.note(
            connection, caller.team, caller.name, "job.delete", job.id, name=job.name, runs=count
        )
    intake_of(request).known.forget()
    return Deleted(id=job.id, runs=count)


def _plain(dashed: str | None) -> str | None:
    return None if dashed is None else dashed.replace("-", "").lower()
