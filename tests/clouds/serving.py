"""Serving a stand-in over real HTTP in the loop of the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator

import uvicorn
from starlette.applications import Starlette


class _Server(uvicorn.Server):
    """Leaves the signals of the test's process alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: Starlette) -> AsyncGenerator[str]:
    """Serve `app` and yield its address."""
    # A connection that is kept may be closed just as the next request is sent through it.
    config = uvicorn.Config(
        app, log_level="critical", headers=[("connection", "close")], lifespan="off", loop="asyncio"
    )
    server = _Server(config)
    listening = listening_socket()
    work = asyncio.create_task(server.serve([listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await work
        listening.close()


def listening_socket() -> socket.socket:
    """Return a bound socket that asyncio knows for TCP, so that it sends small pieces at once."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.bind(("127.0.0.1", 0))
    return bound
