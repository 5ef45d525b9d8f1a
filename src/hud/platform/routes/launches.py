"""Running a taskset on the platform, asked for as a whole."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel

from hud.platform.accounts import audit
from hud.platform.identity import Recorder
from hud.platform.reading.finding import RecordId, find_job
from hud.platform.rollouts.launching import Launch, launch, run_again
from hud.platform.routes.asked import Id, refusals
from hud.platform.routes.rollouts import rollouts_of
from hud.platform.services import services_of

router = APIRouter(prefix="/v2", tags=["rollouts"])


class Launched(BaseModel):
    """A job has begun, with so many rollouts in the queue."""

    job_id: str
    rollouts: int


@router.post("/tasksets/{taskset_id}/run", responses=refusals(400, 404, 409))
async def run_taskset(
    request: Request, caller: Recorder, taskset_id: Id, wanted: Launch
) -> Launched:
    """Run every task of a taskset, as often as wanted, in the environments deployed here."""
    services = services_of(request)
    job_id, total = await launch(services, rollouts_of(request), caller, taskset_id, wanted)
    with services.database.writing() as connection:
        audit.note(connection, caller.team, caller.name, "job.launch", job_id, rollouts=total)
    return Launched(job_id=job_id, rollouts=total)


@router.post("/jobs/{job_id}/retry", responses=refusals(404, 409))
async def retry_job(request: Request, caller: Recorder, job_id: RecordId) -> Launched:
    """Make another attempt at every ungraded run of a job that the platform began.

    What is graded is never run again, nor what somebody cancelled.
    """
    services = services_of(request)
    job = find_job(services, caller, job_id)
    total = await run_again(services, rollouts_of(request), caller, job)
    with services.database.writing() as connection:
        audit.note(connection, caller.team, caller.name, "job.retry", job.id, rollouts=total)
    return Launched(job_id=job.id, rollouts=total)
