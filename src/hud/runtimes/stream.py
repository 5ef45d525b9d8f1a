"""A stream that is read and written piece by piece, as a side that sockets can be joined to.

Tunnels of vendors and WebSockets are such streams: nothing of them is a socket of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Protocol

from hud._core.finishing import unbroken
from hud._core.relay import Relay

PIECE_BYTES = 64 * 1024
_CLOSE_S = 10.0
_HIGH_BYTES, _LOW_BYTES = 4 * PIECE_BYTES, PIECE_BYTES


class Stream(Protocol):
    """Bytes both ways to a control port."""

    async def read(self) -> bytes:
        """Return what came, b"" once nothing more will."""
        ...

    async def write(self, data: bytes) -> None:
        """Send `data`; returns once more may be sent."""
        ...

    async def close(self) -> None:
        """Let go of the stream; may be called when it is broken already."""
        ...


@contextlib.asynccontextmanager
async def joinable(stream: Stream) -> AsyncGenerator[Relay]:
    """Yield a side that carries `stream`, which is closed afterwards.

    A stream cannot end in one direction only: when either has ended, both have. At most 256 KiB
    wait to be written; then whoever sends is paused.

    Raises:
        Exception: what reading or writing raised.
    """
    far = Relay()
    transport = _StreamTransport(stream, far)
    far.connection_made(transport)
    carrying = asyncio.create_task(transport.carry())
    try:
        yield far
    finally:
        await unbroken(_let_go(stream, carrying), within_s=_CLOSE_S)
    if not carrying.cancelled():
        carrying.result()


async def _let_go(stream: Stream, carrying: asyncio.Task[None]) -> None:
    carrying.cancel()
    await asyncio.wait([carrying])
    await stream.close()


class _StreamTransport(asyncio.Transport):
    """What a `Relay` writes to and is fed by."""

    def __init__(self, stream: Stream, protocol: Relay) -> None:
        super().__init__()
        self._stream = stream
        self._protocol = protocol
        self._held = bytearray()
        self._changed = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._is_full = False
        self._is_closing = False

    async def carry(self) -> None:
        """Pass bytes both ways until either has ended."""
        ways = [asyncio.create_task(self._inward()), asyncio.create_task(self._outward())]
        failure: Exception | None = None
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        except Exception as error:
            failure = error
            raise
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._is_closing = True
            self._protocol.connection_lost(failure)

    async def _inward(self) -> None:
        while piece := await self._stream.read():
            await self._may_read.wait()
            self._protocol.data_received(piece)

    async def _outward(self) -> None:
        while True:
            if not self._held:
                if self._is_closing:
                    return
                self._changed.clear()
                await self._changed.wait()
                continue
            piece = bytes(self._held[:PIECE_BYTES])
            del self._held[:PIECE_BYTES]
            await self._stream.write(piece)
            if self._is_full and len(self._held) <= _LOW_BYTES:
                self._is_full = False
                self._protocol.resume_writing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._held += data
        self._changed.set()
        if not self._is_full and len(self._held) > _HIGH_BYTES:
            self._is_full = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True
        self._changed.set()

    def abort(self) -> None:
        self._held.clear()
        self.close()

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()
