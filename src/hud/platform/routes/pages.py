"""What is at fixed places beside the API: health, the root, and the places of what is not built."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import HTMLResponse, JSONResponse

from hud._version import __version__
from hud.platform.errors import error_response
from hud.platform.identity import caller_of

router = APIRouter()


class Health(BaseModel):
    """The server answers."""

    status: str
    version: str


@router.get("/healthz", tags=["health"])
async def health() -> Health:
    """Say that the server answers; needs no key."""
    return Health(status="ok", version=__version__)


@router.api_route(
    "/rl/{path:path}", methods=["GET", "POST", "PUT", "DELETE"], include_in_schema=False
)
async def training(path: str) -> JSONResponse:
    """Say that there is no training service."""
    return error_response(
        501,
        "not_available",
        "this platform has no training service",
        "train where the runs were made: group_relative and exports give rewards and samples",
    )


@router.get("/", include_in_schema=False)
def root(request: Request) -> Response:
    """Say where things are."""
    caller = caller_of(request)
    return HTMLResponse(
        "<!doctype html><meta charset=utf-8><title>hud platform</title>"
        f"<p>The platform runs; this browser is signed in to the team {caller.team}.</p>"
        '<p>The API is described at <a href="/openapi.json">/openapi.json</a>.</p>',
        headers={"Content-Security-Policy": "default-src 'none'"},
    )
