"""A peer that does not speak a protocol: it says something else, or nothing, or hangs up.

What a client makes of it is checked by `check_capability`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Literal, cast

Then = Literal["hang up", "wait", "go on"]

GARBAGE = b"\x00\xff\x17 this is no protocol at all \r\n\r\n" * 64


class _Peer(asyncio.Protocol):
    """The far end of one connection: says something, then hangs up, waits or goes on."""

    def __init__(self, says: bytes, then: Then, transports: set[asyncio.Transport]) -> None:
        self._says = says
        self._then = then
        self._transports = transports
        self._transport: asyncio.Transport | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transports.add(self._transport)
        self._transport.write(self._says)
        if self._then == "hang up":
            self._transport.close()
        elif self._then == "go on":
            self.resume_writing()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(self._says)
        if not self._paused:
            asyncio.get_running_loop().call_soon(self.resume_writing)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transports.discard(self._transport)


@contextlib.asynccontextmanager
async def strange_peer(says: bytes, then: Then) -> AsyncGenerator[int]:
    """Listen on a free loopback port, and yield it, as something that is not the daemon."""
    transports: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Peer(says, then, transports), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for transport in list(transports):
            transport.abort()
        await server.wait_closed()
