"""A model server beside tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from hud.testing.model_server import ModelServer, Rule


@contextmanager
def model_server(rule: Rule, **more: Any) -> Generator[ModelServer]:
    """Serve in a thread until the block ends."""
    server = ModelServer(rule, **more)
    is_up = threading.Event()
    stopping: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with server:
            end = asyncio.Event()
            stopping.append((asyncio.get_running_loop(), end))
            is_up.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert is_up.wait(60)
        yield server
    finally:
        loop, end = stopping[0]
        loop.call_soon_threadsafe(end.set)
        thread.join()
