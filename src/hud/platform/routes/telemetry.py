"""Where spans come in, and what existing clients say of their command lines."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel

from hud.platform.identity import caller_of_async
from hud.platform.ingest.reporting import intake_of, reply, run_id_of

router = APIRouter(prefix="/telemetry/v3/api", tags=["telemetry"])

_EVENTS_LIMIT_BYTES = 64 * 1024


class SpanRejected(BaseModel):
    """A span that was left out: its place in the upload, from 0, and why."""

    index: int
    reason: str


class Uploaded(BaseModel):
    """The spans are durable. `cancel` and `cancel_job` say what is to end of the job.

    `rejected` holds the first 100 of `rejected_count`.
    """

    id: str
    accepted: int
    rejected_count: int
    rejected: list[SpanRejected]
    cancel: list[str]
    cancel_job: bool


_UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["telemetry"],
                    "properties": {"telemetry": {"type": "array", "items": {"type": "object"}}},
                }
            }
        },
    }
}


@router.post(
    "/trace/{trace_id}/telemetry-upload", response_model=Uploaded, openapi_extra=_UPLOAD_BODY
)
async def upload_spans(
    request: Request, trace_id: Annotated[str, Path(max_length=200)]
) -> Response:
    """Take in spans of a run, in any order, before or after it begins; one that comes twice is one.

    The answer comes when they are durable. A span that makes no sense is left out and reported,
    the others are kept.
    """
    caller = await caller_of_async(request, "write")
    intake = intake_of(request)
    run_id = run_id_of(trace_id)
    limit = request.app.state.services.config.body_limit_bytes
    async with intake.bodies.read(request, limit) as content:
        return reply(await intake.spans_uploaded(caller, run_id, content))


@router.post("/sdk-events/cli", openapi_extra={"requestBody": {"content": {}}})
async def command_line_events(request: Request) -> dict[str, Any]:
    """Take what a command line says of its use, without a key, and throw it away."""
    async with intake_of(request).bodies.read(request, _EVENTS_LIMIT_BYTES):
        return {}
