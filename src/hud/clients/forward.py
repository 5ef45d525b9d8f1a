"""Loopback forwarders: local ports whose connections go through `tunnel.open`.

A client never dials the url an environment declares; it hands out the forwarder's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from msgspec import UNSET

from hud._core.accepting import Accepted, Leading
from hud._core.errors import HudError
from hud._core.relay import Relay
from hud.protocol import frames, methods
from hud.protocol.capability import Capability
from hud.protocol.framing import FrameBuffer

logger = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 30.0

Dial = Callable[[Callable[[], asyncio.Protocol]], Awaitable[object]]


class _Opening(asyncio.Protocol):
    """Send the preface of a capability stream and wait for its one reply."""

    def __init__(self, capability: str) -> None:
        self._capability = capability
        self._buffer = FrameBuffer()
        self.transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        params = methods.TunnelParams(self._capability)
        self.transport.write(frames.encode(frames.Request(1, methods.TUNNEL_OPEN, params)))

    def data_received(self, data: bytes) -> None:
        self._buffer.feed(data)
        if self.opened.done():
            return
        try:
            line = self._buffer.next()
            if line is None:
                return
            frame = frames.parse(line)
        except HudError as error:
            self.opened.set_exception(error)
            return
        if isinstance(frame.error, frames.ErrorBody):
            self.opened.set_exception(frames.HudProtocolError.from_body(frame.error))
        elif frame.result is not UNSET:
            assert self.transport is not None
            self.transport.pause_reading()
            self.opened.set_result(self._buffer.rest())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionResetError("the stream ended before it opened"))

    def give_up(self) -> None:
        """Close the stream, opened or not; nobody awaits the reply any more."""
        if self.transport is not None:
            self.transport.close()
        if not self.opened.cancel() and not self.opened.cancelled():
            self.opened.exception()


class Forwarder:
    """One local port for one capability. The client that made it closes it."""

    def __init__(self, capability: Capability, dial: Dial) -> None:
        self.capability = capability
        self._dial = dial
        self._server: asyncio.Server | None = None
        self._leading = Leading()

    async def start(self) -> Capability:
        """Listen on a free loopback port and return the row that points at it."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return self.capability.with_address(host, port)

    def _accept(self) -> Relay:
        return Accepted(lambda near: self._leading.begin(self._splice(near)))

    async def _splice(self, near: Accepted) -> None:
        far = Relay()
        opening = _Opening(self.capability.name)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._dial(lambda: opening)
                early = await opening.opened
            transport = opening.transport
            assert transport is not None
            far.connection_made(transport)
            transport.set_protocol(far)
            if early:
                far.data_received(early)
            for side in (near, far):
                if side.transport is not None and not side.transport.is_closing():
                    side.transport.resume_reading()
            near.join(far)
            await asyncio.wait([near.closed, far.closed])
        except (OSError, TimeoutError, HudError) as error:
            logger.info("stream to capability %r failed: %s", self.capability.name, error)
        finally:
            near.close()
            far.close()
            opening.give_up()

    async def aclose(self) -> None:
        """Stop listening and end every stream."""
        if self._server is not None:
            self._server.close()
        await self._leading.aclose()
