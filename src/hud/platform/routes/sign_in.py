"""A browser signs in by a one-time link; a device by a code that a person confirms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, RedirectResponse

from hud.platform.accounts import device, sessions
from hud.platform.errors import ApiError, ErrorBody
from hud.platform.identity import Caller, caller_of
from hud.platform.routes.device_page import confirm
from hud.platform.services import services_of

router = APIRouter(tags=["sign in"])


class DeviceAsked(BaseModel):
    """What a device says of itself."""

    client_name: str = Field(default="", max_length=200)
    client_version: str = Field(default="", max_length=64)


class DeviceCode(BaseModel):
    """RFC 8628, section 3.2. `expires_in` and `interval` are seconds."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DeviceToken(BaseModel):
    """A code to exchange for a key."""

    device_code: str = Field(max_length=200)


class DeviceUser(BaseModel):
    """Whose key it is."""

    email: str


class DeviceTeam(BaseModel):
    """Whose things the key is for."""

    name: str


class DeviceSignedIn(BaseModel):
    """The key of a device that was confirmed, told once."""

    api_key: str
    user: DeviceUser
    team: DeviceTeam


class DeviceError(BaseModel):
    """RFC 8628, section 3.5."""

    error: Literal["authorization_pending", "slow_down", "expired_token", "access_denied"]


class DeviceWaits(DeviceError):
    """Why there is no key, or not yet."""

    detail: DeviceError


class DeviceConfirmed(BaseModel):
    """A person's answer about a device."""

    user_code: str = Field(max_length=32)
    approve: bool = True


def signed_in(request: Request) -> Caller:
    """Let in whoever can say who they are."""
    return caller_of(request)


@router.get("/sign-in", include_in_schema=False)
def sign_in(
    request: Request,
    code: Annotated[str, Query(max_length=200)] = "",
    to: Annotated[str, Query(max_length=1000, pattern=r"^/(?:[A-Za-z0-9][^\\\s]*)?$")] = "/",
) -> Response:
    """Use a one-time code up and begin a session; `to` is the page of ours to go on to."""
    services = services_of(request)
    with services.database.writing() as connection:
        token = sessions.redeem_link_code(connection, code)
    if token is None:
        raise ApiError(
            401,
            "this link was used already, or is too old",
            kind="unauthenticated",
            hint="`hud platform sign-in` prints another",
        )
    response = RedirectResponse(to, status_code=303)
    public = services.config.public_url or ""
    response.set_cookie(
        sessions.COOKIE,
        token,
        max_age=sessions.SESSION_LIFETIME_S,
        httponly=True,
        samesite="strict",
        secure=public.startswith("https:"),
    )
    response.headers["Cache-Control"] = "no-store"
    return response


@router.post("/sign-out")
def sign_out(request: Request) -> dict[str, Any]:
    """End the session of this browser."""
    services = services_of(request)
    token = request.cookies.get(sessions.COOKIE)
    if token:
        with services.database.writing() as connection:
            sessions.end_session(connection, token)
        services.keyring.forget()
    return {}


@router.post("/auth/device/code")
def device_code(request: Request, asked: DeviceAsked) -> DeviceCode:
    """Begin to sign a device in (RFC 8628); needs no key."""
    services = services_of(request)
    with services.database.writing() as connection:
        made = device.begin(connection, asked.client_name)
    where = f"{str(request.base_url).rstrip('/')}/device"
    return DeviceCode(
        device_code=made.device_code,
        user_code=made.user_code,
        verification_uri=where,
        verification_uri_complete=f"{where}?code={made.user_code}",
        expires_in=device.LIFETIME_S,
        interval=device.INTERVAL_S,
    )


@router.post(
    "/auth/device/token",
    response_model=DeviceSignedIn,
    responses={400: {"model": DeviceWaits | ErrorBody}},
)
def device_token(request: Request, asked: DeviceToken) -> Response:
    """Ask whether the device was confirmed; the key is told once."""
    services = services_of(request)
    with services.database.writing() as connection:
        answer = device.poll(connection, asked.device_code)
    if isinstance(answer, str):
        return JSONResponse({"error": answer, "detail": {"error": answer}}, status_code=400)
    return JSONResponse(
        {
            "api_key": answer.api_key,
            "user": {"email": answer.email or answer.user_name},
            "team": {"name": answer.team},
        }
    )


@router.post("/auth/device/confirm")
def device_confirm(
    request: Request, asked: DeviceConfirmed, caller: Annotated[Caller, Depends(signed_in)]
) -> dict[str, Any]:
    """Answer a device's question in the name of the caller: it gets a key like theirs."""
    name = confirm(request, caller, asked.user_code, asked.approve)
    return {"client_name": name, "approved": asked.approve}
