"""A worker in a process of its own: more of them run more rollouts, and any may die."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable

import uvloop

from hud._core.errors import InputError
from hud._core.garbage import spare_what_is_loaded
from hud.platform.builds.placing import Deployed
from hud.platform.config import PlatformConfig
from hud.platform.leases.places import Places, clear_up
from hud.platform.rollouts.worker import make_worker
from hud.platform.running import running_here
from hud.platform.services import Services


def work(config: PlatformConfig, url: str | None, on_ready: Callable[[str], None]) -> None:
    """Run rollouts of the platform with this database until SIGINT or SIGTERM.

    What is under way then is left to other workers.

    Args:
        config: Which database, and how many rollouts at a time.
        url: Where the platform answers, for models; the server on the same home when left out.
        on_ready: Told that address, once work is taken.

    Raises:
        InputError: when no server is known, or the engine is none.
        StoreError: when the store cannot be used.
    """
    if url is None:
        found = running_here(config.home)
        if found is None:
            raise InputError(
                "no platform runs here, so that nobody would answer the agents' models",
                hint="start one with hud platform up, or name it: --url https://hud.example.org",
            )
        url = str(found["url"])
    services = Services.open(config)
    try:
        uvloop.run(_work(services, url.rstrip("/"), on_ready))
    finally:
        services.close()


async def _work(services: Services, url: str, on_ready: Callable[[str], None]) -> None:
    await clear_up()
    places = Places()
    config = services.config
    deployed = Deployed(
        services.database, services.secrets, config.home, memory_mb=config.most_memory_mb
    )
    worker = make_worker(services, places, deployed)
    worker.gateway_url = f"{url}/inference"
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    spare_what_is_loaded()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(places.aclose)
        await stack.enter_async_context(worker.running())
        on_ready(url)
        await stopping.wait()
