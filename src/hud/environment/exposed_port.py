"""A port of this machine's loopback that leads to a daemon in its sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable

from hud._core.errors import CapabilityFault
from hud._core.relay import Relay

logger = logging.getLogger(__name__)

Dial = Callable[[], Awaitable[socket.socket]]


@contextlib.asynccontextmanager
async def exposed(dial: Dial, port: int = 0) -> AsyncGenerator[str]:
    """Listen on a loopback port inside the block, and yield its address as `host:port`.

    Whatever was connected is cut at the end of the block.

    Args:
        dial: Connects inside.
        port: Which port; any that is free when 0.
    """
    loop = asyncio.get_running_loop()
    splices: set[asyncio.Task[None]] = set()

    def accept() -> Relay:
        near = _Near()
        near.begins = lambda: splices.add(loop.create_task(_splice(near, dial)))
        return near

    server = await loop.create_server(accept, "127.0.0.1", port)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"{host}:{port}"
    finally:
        server.close()
        for splice in splices:
            splice.cancel()
        await asyncio.gather(*splices, return_exceptions=True)


class _Near(Relay):
    """The side of whoever connected: reads nothing before the other side is there."""

    begins: Callable[[], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self.begins()


async def _splice(near: Relay, dial: Dial) -> None:
    far = Relay()
    try:
        sock = await dial()
        try:
            await asyncio.get_running_loop().create_connection(lambda: far, sock=sock)
        except BaseException:
            sock.close()
            raise
        if near.transport is not None and not near.transport.is_closing():
            near.transport.resume_reading()
        near.join(far)
        await asyncio.wait([near.closed, far.closed])
    except (OSError, CapabilityFault) as error:
        logger.info("a connection into a sandbox failed: %s", error)
    finally:
        near.close()
        far.close()
