"""The server as one ASGI app: routes at their fixed places under one origin."""

from __future__ import annotations

from fastapi import FastAPI

from hud._version import __version__
from hud.platform.errors import ErrorBody, install_handlers
from hud.platform.guard import Guard
from hud.platform.routes import accounts, keys, pages, sign_in
from hud.platform.services import Services

ROUTERS = (accounts.router, keys.router, sign_in.router, pages.router)


def create_app(services: Services) -> FastAPI:
    """Return the app. The services stay their owner's to close."""
    app = FastAPI(
        title="hud platform",
        version=__version__,
        description="Jobs, traces, tasksets, models and comparison: the platform's HTTP API.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": {"model": ErrorBody}},
    )
    app.state.services = services
    install_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Guard, config=services.config)
    return app
