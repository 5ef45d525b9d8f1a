"""Lending environments: a session is a lease, and each WebSocket through it one raw connection."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, WebSocket
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from hud._core.ids import is_id, normal_id
from hud.platform.errors import ApiError, error_response, not_found
from hud.platform.identity import Caller, Reader, Recorder, caller_of_async, credentials_of
from hud.platform.leases import records
from hud.platform.leases.lease import Borrower
from hud.platform.leases.lending import Leases
from hud.platform.leases.records import LeaseRecord
from hud.platform.leases.tunnel import splice
from hud.platform.routes.asked import Id, Limit, refusals
from hud.platform.services import services_of
from hud.platform.times import iso, iso_required

router = APIRouter(prefix="/runtime", tags=["environments"])


class LeaseWanted(BaseModel):
    """An environment to lend, by its name."""

    model_config = ConfigDict(extra="ignore")

    environment: str = Field(min_length=1, max_length=200)
    trace_id: str | None = Field(default=None, max_length=200)


class LeaseItem(BaseModel):
    """One lease.

    Attributes:
        status: `starting` until its environment can be reached; connections wait for that.
        reason: Why it ended.
    """

    id: str
    environment: str
    status: Literal["starting", "ready", "ended"]
    reason: str | None
    trace_id: str | None
    created_at: str
    ended_at: str | None


class LeasePage(BaseModel):
    """Leases, the newest first."""

    items: list[LeaseItem]
    total: int


class LeaseEnded(BaseModel):
    """A lease is over and its environment gone."""

    id: str
    status: Literal["ended"] = "ended"


def leases_of(request: Request | WebSocket) -> Leases:
    """Return what the app that `request` came to lends."""
    return request.app.state.leases


@router.post("/sessions", status_code=201, responses=refusals(400, 404, 409))
async def lend(request: Request, caller: Recorder, wanted: LeaseWanted) -> LeaseItem:
    """Lend an environment; answers before it can be reached."""
    run_id = normal_id(wanted.trace_id or "")
    borrower = Borrower(
        caller.team, caller.user_id, caller.key_id, run_id if is_id(run_id) else None
    )
    lease = await leases_of(request).lend(borrower, wanted.environment)
    record = await run_in_threadpool(_find, request, caller, lease.id)
    return _item(record)


@router.get("/sessions")
def list_leases(
    request: Request, caller: Reader, limit: Limit = 100, open_only: Annotated[bool, Query()] = True
) -> LeasePage:
    """List the team's leases, the newest first."""
    with services_of(request).database.reading() as connection:
        found = records.newest(connection, caller.team, limit, is_open=open_only)
    return LeasePage(items=[_item(one) for one in found], total=len(found))


@router.get("/sessions/{lease_id}", responses=refusals(404))
async def read_lease(request: Request, caller: Reader, lease_id: Id) -> LeaseItem:
    """Show how a lease stands."""
    record = await run_in_threadpool(_find, request, caller, lease_id)
    item = _item(record)
    try:
        lease = leases_of(request).find(caller.team, record.id)
    except ApiError:
        return item
    # The record is written now and then; this server knows how it stands.
    status: Literal["starting", "ready", "ended"] = "starting"
    if lease.over.done():
        status = "ended"
    elif lease.state == "ready":
        status = "ready"
    return item.model_copy(update={"status": status, "reason": lease.reason})


@router.delete("/sessions/{lease_id}", responses=refusals(404))
async def end_lease(request: Request, caller: Recorder, lease_id: Id) -> LeaseEnded:
    """End a lease; answers once its environment is gone. One that has ended already stays so."""
    record = await run_in_threadpool(_find, request, caller, lease_id)
    leases = leases_of(request)
    try:
        lease = leases.find(caller.team, record.id)
    except ApiError:
        return LeaseEnded(id=record.id)
    await leases.take_back(lease, "it was given back")
    return LeaseEnded(id=record.id)


@router.websocket("/tunnels/{lease_id}")
async def tunnel(websocket: WebSocket, lease_id: str) -> None:
    """Carry one raw connection to the control port of a lent environment."""
    leases = leases_of(websocket)
    try:
        caller = await _caller(websocket)
        lease = leases.find(caller.team, normal_id(lease_id))
        if lease.over.done():
            raise ApiError(410, f"this lease is over: {lease.over.result()}", kind="gone")
        with leases.tunnelling(lease):
            await websocket.accept()
            await splice(websocket, lease)
    except ApiError as error:
        refusal = error_response(error.status, error.kind, error.message, error.hint)
        await websocket.send_denial_response(refusal)


async def _caller(websocket: WebSocket) -> Caller:
    # A page's cookie is no key: what a page may do here is nothing.
    if credentials_of(websocket.headers) is None:
        raise ApiError(401, "this connection carries no key", kind="unauthenticated")
    return await caller_of_async(websocket, "write")


def _find(request: Request, caller: Caller, lease_id: str) -> LeaseRecord:
    with services_of(request).database.reading() as connection:
        record = records.find(connection, caller.team, normal_id(lease_id))
    if record is None:
        not_found("lease", lease_id)
    return record


def _item(record: LeaseRecord) -> LeaseItem:
    return LeaseItem(
        id=record.id,
        environment=record.environment,
        status=_status(record.state),
        reason=record.reason,
        trace_id=record.run_id,
        created_at=iso_required(record.created_at),
        ended_at=iso(record.ended_at),
    )


def _status(state: str) -> Literal["starting", "ready", "ended"]:
    return "starting" if state == "starting" else "ready" if state == "ready" else "ended"
