"""Where clients report that jobs and runs begin and end: at least once, in any order."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel

from hud.platform.identity import caller_of_async
from hud.platform.ingest.reporting import intake_of, reply, report_in, run_id_of

router = APIRouter(prefix="/v2/trace", tags=["reports"])

ReportedId = Annotated[str, Path(max_length=200)]


class Heard(BaseModel):
    """A report is durable.

    Attributes:
        id: What was reported of, as it is stored.
        cancel: Runs of the same job that somebody asked to end.
        cancel_job: Whether all of the job is to end.
    """

    id: str
    cancel: list[str]
    cancel_job: bool


def _body(**properties: str) -> dict[str, Any]:
    fields = {name: {"type": kind} if kind else {} for name, kind in properties.items()}
    schema = {"type": "object", "properties": fields}
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


_JOB = _body(name="string", group="integer", taskset_id="string")
_ENTER = _body(
    job_id="string",
    task_slug="string",
    group_id="string",
    model="string",
    parent_trace_id="string",
    task_id="string",
    env="string",
    member="integer",
    attempt="integer",
    runtime="string",
    task_digest="string",
    started_at="",
)
_EXIT = _body(
    status="string",
    outcome="string",
    reward="",
    error="string",
    evaluation_result="object",
    stop_reason="string",
    metadata="object",
    ended_at="",
)


@router.post("/job/{job_id}/enter", response_model=Heard, openapi_extra=_JOB)
async def enter_job(request: Request, job_id: ReportedId) -> Response:
    """Hear that a job begins, or goes on."""
    caller = await caller_of_async(request, "write")
    report = await report_in(request)
    return reply(await intake_of(request).job_entered(caller, run_id_of(job_id), report))


@router.post("/{trace_id}/enter", response_model=Heard, openapi_extra=_ENTER)
async def enter_run(request: Request, trace_id: ReportedId) -> Response:
    """Hear that a run begins; a job or a run nobody spoke of before is made."""
    caller = await caller_of_async(request, "write")
    report = await report_in(request)
    return reply(await intake_of(request).run_entered(caller, run_id_of(trace_id), report))


@router.post("/{trace_id}/exit", response_model=Heard, openapi_extra=_EXIT)
async def exit_run(request: Request, trace_id: ReportedId) -> Response:
    """Hear how a run ended; only the first end counts.

    Without an `evaluation_result` that has a finite `score` it is ungraded, whatever `reward` it
    carries.
    """
    caller = await caller_of_async(request, "write")
    report = await report_in(request)
    return reply(await intake_of(request).run_exited(caller, run_id_of(trace_id), report))
