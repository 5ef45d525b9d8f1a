"""What is at fixed places beside the API: health, and the places of what is not built."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse

from hud._version import __version__
from hud.platform.errors import error_response

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
