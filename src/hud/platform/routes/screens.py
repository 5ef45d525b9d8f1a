"""The live screen of a run: whether there is one, and looking at it."""

from __future__ import annotations

import contextlib
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, WebSocket
from pydantic import BaseModel
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from hud._core.errors import HudError
from hud.platform.errors import ApiError, error_response, not_found
from hud.platform.identity import Reader, caller_of_async, credentials_of
from hud.platform.reading.finding import RecordId, find_run
from hud.platform.routes.asked import refusals
from hud.platform.screens.showing import Kind, Screens
from hud.platform.services import Services, services_of
from hud.store import RunRecord
from hud.store.schema import metadata

router = APIRouter(prefix="/v2/traces", tags=["traces"])

_queue = metadata.tables["rollout_queue"]
_ENDED = "This run is over. What its screen showed is on its steps."
_WAITING = "This run has not begun yet."
_STARTING = "Its environment starts."
_SILENT = "Its environment does not answer just now."
_NONE = "Its environment has no screen."
_OTHER_WORKER = "Another worker of this platform holds its environment, and shows no screens."
_ELSEWHERE = "Its environment is not on this platform: look at it where the run was begun."


class ScreenItem(BaseModel):
    """A screen by the name of its capability."""

    name: str
    kind: Kind


class ScreenState(BaseModel):
    """Whether a run can be looked at.

    Attributes:
        state: `live`, then there are `screens`; `waiting` for what may change soon; `none` where
            the environment has no screen; `elsewhere` where it is not held here; `ended`.
        says: Why there is nothing to look at, in one sentence.
    """

    state: Literal["live", "waiting", "none", "elsewhere", "ended"]
    screens: list[ScreenItem]
    says: str | None


def screens_of(request: Request | WebSocket) -> Screens:
    """Return what the app that `request` came to shows."""
    return request.app.state.screens


@router.get("/{trace_id}/screen", responses=refusals(404))
async def read_screen(request: Request, caller: Reader, trace_id: RecordId) -> ScreenState:
    """Say whether a run can be looked at while it runs."""
    services, screens = services_of(request), screens_of(request)
    run = await run_in_threadpool(find_run, services, caller, trace_id)
    if run.ended_at is not None:
        return _nothing("ended", _ENDED)
    standing = await screens.find(caller.team, run.id)
    if standing is None:
        if screens.is_starting(caller.team, run.id):
            return _nothing("waiting", _STARTING)
        return await run_in_threadpool(_not_here, services, caller.team, run)
    try:
        found = await screens.list(standing)
    except HudError:
        return _nothing("waiting", _SILENT)
    if not found:
        return _nothing("none", _NONE)
    items = [ScreenItem(name=one.name, kind=one.kind) for one in found]
    return ScreenState(state="live", screens=items, says=None)


@router.websocket("/{trace_id}/screen")
async def look(
    websocket: WebSocket,
    trace_id: str,
    name: Annotated[str | None, Query(max_length=200)] = None,
) -> None:
    """Show a run's screen: a desktop as its own stream of RFB, a browser as JPEG pictures.

    Without a name it is the first of its screens. What the viewer says moves nothing.
    """
    services: Services = websocket.app.state.services
    screens = screens_of(websocket)
    try:
        caller = await caller_of_async(websocket, "read")
        if credentials_of(websocket.headers) is None and "origin" not in websocket.headers:
            raise ApiError(403, "a page says where it is from", kind="forbidden")
        run = await run_in_threadpool(find_run, services, caller, trace_id)
        standing = await screens.find(caller.team, run.id)
        if standing is None:
            not_found("screen", trace_id)
        with screens.viewing(caller.team, run.id):
            await websocket.accept()

            async def may_look() -> bool:
                with contextlib.suppress(ApiError):
                    return (await caller_of_async(websocket, "read")).team == caller.team
                return False

            await screens.show(websocket, standing, name, may_look)
    except ApiError as error:
        refusal = error_response(error.status, error.kind, error.message, error.hint)
        await websocket.send_denial_response(refusal)


def _nothing(state: Literal["waiting", "none", "elsewhere", "ended"], says: str) -> ScreenState:
    return ScreenState(state=state, screens=[], says=says)


def _not_here(services: Services, team: str, run: RunRecord) -> ScreenState:
    if run.status == "pending":
        return _nothing("waiting", _WAITING)
    with services.database.reading() as connection:
        wanted = (_queue.c.team == team) & (_queue.c.id == run.id) & (_queue.c.state == "leased")
        is_worked_on = connection.execute(select(_queue.c.id).where(wanted)).first() is not None
    return _nothing("elsewhere", _OTHER_WORKER if is_worked_on else _ELSEWHERE)
