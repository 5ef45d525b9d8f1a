"""The server as one ASGI app: routes at their fixed places under one origin."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI

from hud._version import __version__
from hud.platform import assets
from hud.platform.builds.building import Builds
from hud.platform.builds.bundle_builder import BundleBuilder
from hud.platform.builds.contexts import Contexts
from hud.platform.builds.docker_builder import DockerBuilder
from hud.platform.builds.placing import Deployed
from hud.platform.errors import ErrorBody, install_handlers
from hud.platform.gateway.app import Gateway
from hud.platform.gateway.door import GatewayDoor, ServerApp
from hud.platform.gateway.env_providers import env_providers
from hud.platform.guard import Guard
from hud.platform.ingest.bodies import Gate
from hud.platform.ingest.intake import Intake
from hud.platform.leases.lending import Leases
from hud.platform.leases.places import Places, clear_up
from hud.platform.live import Live
from hud.platform.rollouts.rollouts import Rollouts
from hud.platform.rollouts.worker import Worker, make_worker
from hud.platform.routes import (
    accounts,
    blobs,
    builds,
    cancel,
    compare,
    device_page,
    events,
    jobs,
    keys,
    launches,
    leaderboards,
    leases,
    models,
    outline,
    pages,
    projects,
    providers,
    qa,
    registry,
    reports,
    rollouts,
    scorecards,
    screens,
    sign_in,
    tasks,
    tasksets,
    telemetry,
    traces,
    usage,
    versions,
)
from hud.platform.screens.showing import Screens
from hud.platform.services import Services

ROUTERS = (
    telemetry.router,
    reports.router,
    events.router,
    jobs.router,
    traces.router,
    outline.router,
    screens.router,
    blobs.router,
    cancel.router,
    rollouts.router,
    accounts.router,
    keys.router,
    sign_in.router,
    device_page.router,
    projects.router,
    tasksets.router,
    tasks.router,
    leaderboards.router,
    compare.router,
    scorecards.router,
    registry.router,
    builds.router,
    versions.router,
    leases.router,
    launches.router,
    qa.router,
    models.router,
    providers.router,
    usage.router,
    pages.router,
    assets.router,
)


def create_app(services: Services) -> FastAPI:
    """Return the app. The services stay their owner's to close."""
    config = services.config
    gateway = Gateway(
        services.database,
        services.keyring,
        services.secrets,
        answers=config.home / "cache" / "gateway",
        extra=env_providers(config.env_providers),
    )
    app = _routes(gateway)
    app.state.services = services
    app.state.gateway = gateway
    app.state.intake = Intake(services.store, services.database)
    app.state.uploads = Gate(tasksets.UPLOADS_TOGETHER_BYTES)
    app.state.live = Live(services.store)
    deployed = Deployed(
        services.database, services.secrets, config.home, memory_mb=config.most_memory_mb
    )
    app.state.builds = Builds(
        services.database,
        services.secrets,
        Contexts(config.home),
        DockerBuilder(config.home) if config.builder == "docker" else BundleBuilder(config.home),
        at_once=config.builds_at_once,
        timeout_s=config.build_timeout_s,
    )
    app.state.places = Places()
    app.state.leases = Leases(services.database, deployed, app.state.places)
    app.state.screens = Screens(app.state.places.runs, app.state.leases)
    worker = make_worker(services, app.state.places, deployed) if config.rollouts else None
    app.state.rollouts = Rollouts(services, worker, deployed, gateway.check_model)
    app.add_middleware(Guard, config=config)
    app.door = Guard(GatewayDoor(gateway), config)
    return app


def openapi_document() -> dict[str, Any]:
    """Return what a server publishes at `/openapi.json`."""
    return _routes().openapi()


def _routes(gateway: Gateway | None = None) -> ServerApp:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with contextlib.AsyncExitStack() as stack:
            if gateway is not None:
                await stack.enter_async_context(gateway)
                await stack.enter_async_context(app.state.live.running())
                await stack.enter_async_context(app.state.builds.running())
                await clear_up()
                stack.push_async_callback(app.state.places.aclose)
                await stack.enter_async_context(app.state.leases.running())
                worker: Worker | None = app.state.rollouts.worker
                if worker is not None:
                    await stack.enter_async_context(worker.running())
            yield

    app = ServerApp(
        title="hud platform",
        version=__version__,
        description="Jobs, traces, tasksets, models and comparison: the platform's HTTP API.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        responses={"4XX": {"model": ErrorBody}},
    )
    install_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
