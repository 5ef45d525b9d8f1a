"""Live streams, as server-sent events: all jobs of a team, one job, one run.

A client listens first, and reads what there is when it hears `ready`: then it misses nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool

from hud.platform.errors import ApiError
from hud.platform.event_stream import EventStream
from hud.platform.identity import Reader, caller_of, check
from hud.platform.live import Live
from hud.platform.reading.finding import RecordId, find_job, find_run
from hud.platform.seen import SeenSteps
from hud.platform.services import services_of
from hud.platform.streams import follow_job, follow_jobs, follow_run

router = APIRouter(prefix="/v2", tags=["live"])

_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events until the client goes", "content": {"text/event-stream": {}}}
}


@router.get("/jobs/events", response_class=EventStream, status_code=200, responses=_EVENTS)
def jobs_live(request: Request, caller: Reader) -> EventStream:
    """Follow the team's jobs: `ready`, then a `job` for each that changes; `reset`: read all."""
    services = services_of(request)
    events = follow_jobs(services, _live(request), caller.team, _asking(request))
    return EventStream(events)


@router.get("/jobs/{job_id}/events", response_class=EventStream, status_code=200, responses=_EVENTS)
def job_live(request: Request, caller: Reader, job_id: RecordId) -> EventStream:
    """Follow a job: the `job`, `ready`, then each `run` that begins, ends or is marked."""
    services = services_of(request)
    job = find_job(services, caller, job_id)
    return EventStream(follow_job(services, _live(request), job, _asking(request)))


@router.get(
    "/trace/{trace_id}/live", response_class=EventStream, status_code=200, responses=_EVENTS
)
def run_live(
    request: Request,
    caller: Reader,
    trace_id: RecordId,
    last_event_id: Annotated[str | None, Header(max_length=8000)] = None,
) -> EventStream:
    """Follow a run: every `step`, also one that comes late, and the `run` when it changes.

    `Last-Event-ID` goes on after what a stream before has sent.
    """
    services = services_of(request)
    run = find_run(services, caller, trace_id)
    seen = SeenSteps.of(last_event_id or "")
    return EventStream(follow_run(services, _live(request), run, seen, _asking(request)))


def _live(request: Request) -> Live:
    return request.app.state.live


def _asking(request: Request) -> Callable[[], Awaitable[bool]]:
    """Return what tells whether the request's key is still good."""

    async def still_allowed() -> bool:
        try:
            check(await run_in_threadpool(caller_of, request), "read")
        except ApiError:
            return False
        return True

    return still_allowed
