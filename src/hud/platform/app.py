"""The server as one ASGI app: routes at their fixed places under one origin."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from hud._version import __version__
from hud.platform import assets
from hud.platform.errors import ErrorBody, install_handlers
from hud.platform.guard import Guard
from hud.platform.ingest.intake import Intake
from hud.platform.routes import (
    accounts,
    blobs,
    cancel,
    device_page,
    jobs,
    keys,
    outline,
    pages,
    reports,
    sign_in,
    telemetry,
    traces,
)
from hud.platform.services import Services

ROUTERS = (
    telemetry.router,
    reports.router,
    jobs.router,
    traces.router,
    outline.router,
    blobs.router,
    cancel.router,
    accounts.router,
    keys.router,
    sign_in.router,
    device_page.router,
    pages.router,
    assets.router,
)


def create_app(services: Services) -> FastAPI:
    """Return the app. The services stay their owner's to close."""
    app = _routes()
    app.state.services = services
    app.state.intake = Intake(services.store, services.database)
    app.add_middleware(Guard, config=services.config)
    return app


def openapi_document() -> dict[str, Any]:
    """Return what a server publishes at `/openapi.json`."""
    return _routes().openapi()


def _routes() -> FastAPI:
    app = FastAPI(
        title="hud platform",
        version=__version__,
        description="Jobs, traces, tasksets, models and comparison: the platform's HTTP API.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": {"model": ErrorBody}},
    )
    install_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
