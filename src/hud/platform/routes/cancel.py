"""Ending what runs: a run, a job, everything somebody began."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from hud._core.errors import bounded
from hud.platform.accounts import audit
from hud.platform.identity import Caller, Recorder
from hud.platform.ingest import stopping
from hud.platform.ingest.reporting import intake_of
from hud.platform.reading.finding import find_job, find_run
from hud.platform.routes.rollouts import rollouts_of
from hud.platform.services import services_of
from hud.store import JobRecord

router = APIRouter(prefix="/v2/rollouts", tags=["cancel"])


class RunWanted(BaseModel):
    """A run to end. Its job is known."""

    model_config = ConfigDict(extra="ignore")

    trace_id: str = Field(min_length=1, max_length=200)


class JobWanted(BaseModel):
    """A job to end."""

    model_config = ConfigDict(extra="ignore")

    job_id: str = Field(min_length=1, max_length=200)


class RunCancelled(BaseModel):
    """`accepted`: whoever works on it is told. `finished`: it had ended already.

    `unreachable`: it is worked on beside this platform, by somebody who only ends whole jobs.
    """

    trace_id: str
    status: Literal["accepted", "finished", "unreachable"]


class JobCancelled(BaseModel):
    """How many unfinished runs are to end, of how many there are."""

    job_id: str
    cancelled: int
    total_found: int


class OneCancelled(BaseModel):
    """One job of those that are to end."""

    job_id: str
    cancelled: int


class AllCancelled(BaseModel):
    """What is to end."""

    jobs_cancelled: int
    total_tasks_cancelled: int
    job_details: list[OneCancelled]


@router.post("/cancel")
def cancel_run(request: Request, caller: Recorder, wanted: RunWanted) -> RunCancelled:
    """End one run: its reporter learns of it with the next answer it gets."""
    services = services_of(request)
    run = find_run(services, caller, wanted.trace_id)
    if run.ended_at is not None:
        return RunCancelled(trace_id=run.id, status="finished")
    found = rollouts_of(request).cancel(run.team, _reason(caller), runs=[run.id])
    if found.total:
        with services.database.writing() as connection:
            audit.note(connection, caller.team, caller.name, "run.cancel", run.id)
        return RunCancelled(trace_id=run.id, status="accepted")
    intake = intake_of(request)
    if not stopping.is_told(services, intake, run.team, run.job_id):
        return RunCancelled(trace_id=run.id, status="unreachable")
    intake.cancellations.add(run.team, run.job_id, [run.id], caller.name)
    with services.database.writing() as connection:
        audit.note(connection, caller.team, caller.name, "run.cancel", run.id)
    return RunCancelled(trace_id=run.id, status="accepted")


@router.post("/cancel_job")
def cancel_job(request: Request, caller: Recorder, wanted: JobWanted) -> JobCancelled:
    """End a job: its reporter, or the process that works on it beside this platform, is told."""
    services = services_of(request)
    job = find_job(services, caller, wanted.job_id)
    ended = _stop(request, caller, job)
    return JobCancelled(job_id=job.id, cancelled=ended.cancelled, total_found=ended.total)


@router.post("/cancel_user_jobs")
def cancel_user_jobs(
    request: Request, caller: Recorder, wanted: dict[str, Any] | None = None
) -> AllCancelled:
    """End every job that the caller's person began and that is worked on."""
    services = services_of(request)
    details: list[OneCancelled] = []
    for job in stopping.jobs_of_person(services, caller):
        ended = _stop(request, caller, job)
        details.append(OneCancelled(job_id=job.id, cancelled=ended.cancelled))
    return AllCancelled(
        jobs_cancelled=len(details),
        total_tasks_cancelled=sum(one.cancelled for one in details),
        job_details=details,
    )


def _stop(request: Request, caller: Caller, job: JobRecord) -> stopping.Ended:
    """End a job, also what of it waits for a worker of the platform or has one."""
    ended = stopping.stop_job(services_of(request), intake_of(request), caller, job)
    found = rollouts_of(request).cancel(job.team, _reason(caller), job_id=job.id)
    return replace(ended, cancelled=max(ended.cancelled, found.total))


def _reason(caller: Caller) -> str:
    return f"cancelled by {bounded(caller.name)}"
