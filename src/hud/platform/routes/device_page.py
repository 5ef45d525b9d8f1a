"""The page on which a person confirms a device: a plain form, so that it works without scripts."""

from __future__ import annotations

from html import escape
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from hud.platform.accounts import audit, device
from hud.platform.errors import ApiError
from hud.platform.identity import Caller, caller_of
from hud.platform.services import services_of

router = APIRouter(include_in_schema=False)

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_LONGEST_BODY = 4_096


@router.get("/device")
def show(request: Request, code: Annotated[str, Query(max_length=32)] = "") -> Response:
    """Ask a signed-in person whether the device is theirs."""
    try:
        caller = caller_of(request)
    except ApiError as error:
        return _page(f"<p>{escape(error.message)}.</p><p>{escape(error.hint or '')}</p>", 401)
    return _page(
        "<form method=post action=/device>"
        f"<p>A device asks to be signed in to the team <b>{escape(caller.team)}</b> as "
        f"<b>{escape(caller.name)}</b>. Allow it only if it shows this code:</p>"
        f'<p><input name=code value="{escape(code)}" autocomplete=off autofocus maxlength=32></p>'
        "<p><button name=answer value=allow>Allow</button> "
        "<button name=answer value=deny>Deny</button></p></form>"
    )


@router.post("/device")
async def answer(request: Request) -> Response:
    """Take the person's answer."""
    body = await request.body()
    fields = parse_qs(body[:_LONGEST_BODY].decode("utf-8", "replace"))
    code, said = fields.get("code", [""])[0], fields.get("answer", [""])[0]
    try:
        caller = await run_in_threadpool(caller_of, request)
        name = await run_in_threadpool(confirm, request, caller, code, said == "allow")
    except ApiError as error:
        return _page(f"<p>{escape(error.message)}.</p>", error.status)
    done = "is signed in" if said == "allow" else "was refused"
    return _page(f"<p>{escape(name)} {done}. You can close this page.</p>")


def confirm(request: Request, caller: Caller, code: str, approve: bool) -> str:
    """Answer the device in the name of `caller`, and return what it calls itself.

    Raises:
        ApiError: when no device waits with this code.
    """
    with services_of(request).database.writing() as connection:
        name = device.confirm(connection, code, caller, approve=approve)
        done = "device.approve" if approve else "device.deny"
        audit.note(connection, caller.team, caller.name, done, name)
    return name


def _page(body: str, status: int = 200) -> HTMLResponse:
    head = "<!doctype html><meta charset=utf-8><title>Sign in a device</title><h1>hud platform</h1>"
    return HTMLResponse(head + body, status_code=status, headers=_HEADERS)
