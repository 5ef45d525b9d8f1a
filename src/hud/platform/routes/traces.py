"""Runs: listed, shown, step by step, as events, as lines; and what must not count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from hud._core import json
from hud._core.outcome import Outcome
from hud.platform.cursors import decode_cursor, encode_cursor
from hud.platform.identity import Reader, Recorder
from hud.platform.reading import places
from hud.platform.reading.events import read_events
from hud.platform.reading.finding import RecordId, find_run
from hud.platform.reading.shapes import RunDetail, RunItem
from hud.platform.reading.steps import lines_of, read_page, span_data, step_data
from hud.platform.services import services_of
from hud.store import RunFilter, RunStatus

router = APIRouter(prefix="/v2", tags=["traces"])

_SPANS_AT_MOST = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Limit = Annotated[int, Query(ge=1, le=1000)]
Words = Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$")]
After = Annotated[int, Query(ge=0, lt=2**62)]


class RunPage(BaseModel):
    """Runs, newest first. `total` is null where there are more than 100,000."""

    items: list[RunItem]
    total: int | None
    next_cursor: str | None


class StepItem(BaseModel):
    """One step. `payload` is what was recorded.

    Steps are in the order of `seq`, which has gaps. A large value may stand as
    `{"$blob": sha256, "size_bytes": n, "media_type": …}`, which `/v2/blobs/{sha256}` gives.
    """

    seq: int
    source: str | None
    span_id: str | None
    started_at: str | None
    ended_at: str | None
    payload: Any


class StepPage(BaseModel):
    """Steps in order. A page ends early where it would be too long; `next_after` goes on."""

    items: list[StepItem]
    next_after: int | None


class EventPage(BaseModel):
    """What happened, in order: `agent_message`, `tool_call` and `environment`."""

    events: list[dict[str, Any]]
    next_after: int | None


class SpanItem(BaseModel):
    """A span that is no step: what a client's code says of itself."""

    span_id: str
    name: str
    started_at: str | None
    ended_at: str | None
    span: Any


class SpanPage(BaseModel):
    """Debug spans, by their ids."""

    items: list[SpanItem]
    next_after: str | None


class Invalid(BaseModel):
    """Why a run must not count."""

    reason: str = Field(min_length=1, max_length=2000)


@router.get("/traces")
def list_runs(
    request: Request,
    caller: Reader,
    limit: Limit = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    job_id: Annotated[str | None, Query(max_length=64, pattern=r"^[0-9a-fA-F-]+$")] = None,
    status: RunStatus | None = None,
    outcome: Outcome | None = None,
    model: Words = None,
    env: Words = None,
    task_slug: Words = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> RunPage:
    """List the team's runs, newest first."""
    services = services_of(request)
    filters = RunFilter(
        job_id=None if job_id is None else job_id.replace("-", "").lower(),
        status=status,
        outcome=outcome,
        model=model,
        env=env,
        task_slug=task_slug,
        since=_micros(since),
        until=_micros(until),
    )
    before = None
    with services.database.reading() as connection:
        total = places.count_runs(connection, caller.team, filters)
        if cursor is not None:
            started_at, run_id = decode_cursor(cursor, int, str)
            before = places.run_place(run_id=run_id, started_at=started_at)
        elif offset:
            before = places.run_before(connection, caller.team, filters, offset)
            if before is None:
                return RunPage(items=[], total=total, next_cursor=None)
    runs = services.store.list_runs(filters, limit=limit, before=before, team=caller.team)
    last = runs[-1] if len(runs) == limit else None
    return RunPage(
        items=[RunItem.of(run) for run in runs],
        total=total,
        next_cursor=None if last is None else encode_cursor(last.started_at, last.id),
    )


@router.get("/trace/{trace_id}")
def read_run(request: Request, caller: Reader, trace_id: RecordId) -> RunDetail:
    """Show one run: how it stands, its reward if it was graded, what broke if not."""
    return RunDetail.of(find_run(services_of(request), caller, trace_id))


@router.get("/trace/{trace_id}/steps", response_model=StepPage)
def read_steps(
    request: Request,
    caller: Reader,
    trace_id: RecordId,
    after: After = 0,
    limit: Limit = 200,
    resolve: bool = False,
) -> Response:
    """Read the steps of a run after the number `after`.

    With `resolve`, long texts and media are in their places; without, references to blobs are.
    """
    services = services_of(request)
    run = find_run(services, caller, trace_id)
    steps, is_more = read_page(services.store, run, after=after, limit=limit, resolve=resolve)
    return _json(
        {
            "items": [step_data(step) for step in steps],
            "next_after": steps[-1].seq if is_more and steps else None,
        }
    )


@router.get("/trace/{trace_id}/events", response_model=EventPage)
def read_run_events(
    request: Request, caller: Reader, trace_id: RecordId, after: After = 0
) -> Response:
    """Read what happened in a run, in few words: what command lines show."""
    services = services_of(request)
    run = find_run(services, caller, trace_id)
    events, next_after = read_events(services.store, run, after=after)
    return _json({"events": events, "next_after": next_after})


@router.get("/trace/{trace_id}/spans", response_model=SpanPage)
def read_debug_spans(
    request: Request,
    caller: Reader,
    trace_id: RecordId,
    after: Annotated[str, Query(max_length=32, pattern=r"^[0-9a-f]*$")] = "",
    limit: Annotated[int, Query(ge=1, le=_SPANS_AT_MOST)] = _SPANS_AT_MOST,
) -> Response:
    """Read the spans of a run that are no steps."""
    services = services_of(request)
    run = find_run(services, caller, trace_id)
    spans = services.store.read_debug_spans(run.id, after=after, limit=limit, team=run.team)
    return _json(
        {
            "items": [span_data(span) for span in spans],
            "next_after": spans[-1].span_id if len(spans) == limit else None,
        }
    )


@router.get(
    "/trace/{trace_id}/download",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}}},
)
def download_run(request: Request, caller: Reader, trace_id: RecordId) -> StreamingResponse:
    """Download everything that is kept of a run: JSON lines, each with its `kind`."""
    services = services_of(request)
    run = find_run(services, caller, trace_id)
    return StreamingResponse(
        lines_of(services.store, run),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": f'attachment; filename="{run.id}.jsonl"'},
    )


@router.put("/trace/{trace_id}/invalid")
def mark_invalid(request: Request, caller: Recorder, trace_id: RecordId, why: Invalid) -> RunDetail:
    """Say that a run must not count, and why. It is still shown, and no mean includes it."""
    services = services_of(request)
    run = find_run(services, caller, trace_id)
    reason = why.reason.replace("\x00", "\ufffd")
    marked = services.store.mark_invalid(run.id, reason, actor=caller.name, team=run.team)
    return RunDetail.of(marked)


@router.delete("/trace/{trace_id}/invalid")
def unmark_invalid(request: Request, caller: Recorder, trace_id: RecordId) -> RunDetail:
    """Say that a run counts after all."""
    services = services_of(request)
    run = find_run(services, caller, trace_id)
    return RunDetail.of(services.store.mark_invalid(run.id, None, actor=caller.name, team=run.team))


def _json(value: Any) -> Response:
    return Response(json.encode(value), media_type="application/json")


def _micros(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)
