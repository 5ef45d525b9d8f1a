"""The client's end of a control connection: numbered requests, replies matched to them.

Owns the byte stream. What the methods mean to a caller is `client`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from msgspec import UNSET, Raw

from hud._core.errors import RuntimeFault
from hud.protocol import frames
from hud.protocol.frames import HudProtocolError
from hud.protocol.framing import FrameBuffer, FrameTooLong

logger = logging.getLogger(__name__)


class Channel(asyncio.Protocol):
    """Send requests and await their replies over one stream.

    `lost` completes when the stream has ended; every request then pending, and every later one,
    raises `RuntimeFault`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = FrameBuffer()
        self._pending: dict[int | str, asyncio.Future[Raw]] = {}
        self._next_id = 0
        self._transport: asyncio.Transport | None = None
        self._failure: str | None = None
        self._broken: HudProtocolError | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer.feed(data)
        try:
            while self._broken is None and (line := self._buffer.next()) is not None:
                self._receive(line)
        except (FrameTooLong, HudProtocolError) as error:
            self._broken = HudProtocolError(
                frames.PARSE_ERROR, f"the environment sent a broken frame: {error.message}"
            )
            self.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        reason = "the environment closed the connection"
        if exc is not None:
            reason = f"{reason}: {exc}"
        self._failure = reason if self._broken is None else self._broken.message
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(self._broken or RuntimeFault(reason))

    async def call(self, method: str, params: Any) -> Raw:
        """Send one request and return the reply's result, still encoded.

        Raises:
            HudProtocolError: when the peer answers with an error or with something that is no
                frame, or the request cannot be sent.
            RuntimeFault: when the stream ends first.
        """
        return await self.send(method, params)

    def send(self, method: str, params: Any) -> asyncio.Future[Raw]:
        """Send one request and return the future of its result."""
        if self._transport is None or self.lost.done() or self._transport.is_closing():
            raise RuntimeFault(self._failure or "the connection is closed")
        self._next_id += 1
        request_id = self._next_id
        frame = frames.encode(frames.Request(request_id, method, params))
        future: asyncio.Future[Raw] = self._loop.create_future()
        self._pending[request_id] = future
        self._transport.write(frame)
        return future

    def close(self) -> None:
        """Close the stream once what was sent is out; safe to call twice."""
        if self._transport is not None:
            self._transport.close()

    async def wait_lost(self, within_s: float) -> None:
        """Wait until the stream has ended; end it at once when that takes too long."""
        if self._transport is None:
            return
        if self.lost.done():
            return
        clock = self._loop.call_later(within_s, self.abort)
        try:
            await asyncio.shield(self.lost)
        finally:
            clock.cancel()

    def abort(self) -> None:
        """Close the stream at once."""
        if self._transport is not None:
            self._transport.abort()

    def _receive(self, line: bytes) -> None:
        frame = frames.parse(line)
        if frame.id is UNSET or frame.id is None:
            if isinstance(frame.error, frames.ErrorBody):
                # Which request it is about cannot be told, so none of them may wait on.
                self._broken = HudProtocolError.from_body(frame.error)
                self.abort()
            return
        future = self._pending.pop(frame.id, None)
        if future is None or future.done():
            return
        if isinstance(frame.error, frames.ErrorBody):
            future.set_exception(HudProtocolError.from_body(frame.error))
        elif frame.result is UNSET:
            future.set_exception(
                HudProtocolError(frames.INVALID_REQUEST, "reply has neither result nor error")
            )
        else:
            future.set_result(frame.result)
