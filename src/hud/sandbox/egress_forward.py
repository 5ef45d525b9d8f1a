"""A plain forward from a listening socket in a sandbox to one fixed place outside of it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import cast

from hud._core.relay import Relay

logger = logging.getLogger(__name__)

_CONNECT_S = 30.0

Reach = Callable[[Relay], Awaitable[None]]
"""Connects the relay it is given, or raises OSError."""


class Forward:
    """Serve a listening socket by connecting each caller to `target`. Who makes it closes it.

    Args:
        sock: Bound and listening; it is the forward's from here on.
        target: Host and port outside; or what connects the far end of each connection.
        connections: At most so many at once; further ones are closed at once.
    """

    def __init__(
        self, sock: socket.socket, target: tuple[str, int] | Reach, *, connections: int = 256
    ) -> None:
        self._sock = sock
        self._target = target
        self._connections = connections
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Near(self), sock=self._sock)

    def close(self) -> None:
        """Stop listening and begin to end every connection; closing twice is no error."""
        if self._server is not None:
            self._server.close()
        self._sock.close()
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Close it, and return once every connection has ended."""
        self.close()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def splice(self, near: Relay) -> None:
        """Take charge of one accepted connection."""
        if len(self._tasks) >= self._connections:
            near.close()
            return
        task = asyncio.get_running_loop().create_task(self._splice(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reach(self, far: Relay) -> None:
        if callable(self._target):
            await self._target(far)
        else:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: far, *self._target)

    async def _splice(self, near: Relay) -> None:
        far = Relay()
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._reach(far)
            # Read only once joined, so that the slower side holds up the faster.
            if near.transport is not None and not near.transport.is_closing():
                near.transport.resume_reading()
            near.join(far)
            await asyncio.wait([near.closed, far.closed])
        except (OSError, TimeoutError) as error:
            logger.info("a forward out of a sandbox failed: %s", error)
        finally:
            near.close()
            far.close()


class _Near(Relay):
    """The sandbox's side: reads nothing until its target is connected."""

    def __init__(self, owner: Forward) -> None:
        super().__init__()
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).pause_reading()
        self._owner.splice(self)
