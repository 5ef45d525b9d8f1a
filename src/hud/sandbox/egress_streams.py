"""The two streams of one proxied connection, and bytes passed between them with a limit on idling.

What the bytes mean is the business of `egress_http` and `egress_socks`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

_BLOCK_BYTES = 1 << 16
_LINGER_S = 2.0
_LINGER_BYTES = 1 << 20
_CLOSE_S = 1.0


@dataclass(frozen=True, slots=True)
class EgressLimits:
    """How much one sandbox may ask of its proxy.

    Attributes:
        connections: Open at once; more are turned away.
        header_bytes: Of a request's or a response's head.
        idle_s: Without a byte in either direction, and for a head to arrive whole.
        connect_s: For looking a name up, and for each address tried.
        addresses: Tried of one host.
    """

    connections: int = 256
    header_bytes: int = 1 << 15
    idle_s: float = 300.0
    connect_s: float = 30.0
    addresses: int = 4


@dataclass(frozen=True, slots=True)
class Stream:
    """One end of a connection. Who opened it calls `close`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_s: float

    async def read(self) -> bytes:
        """Return some bytes, b"" at the end.

        Raises:
            TimeoutError: when none came for too long.
        """
        async with asyncio.timeout(self.idle_s):
            return await self.reader.read(_BLOCK_BYTES)

    async def exactly(self, count: int) -> bytes:
        """Return `count` bytes.

        Raises:
            EOFError: when the stream ends before.
        """
        async with asyncio.timeout(self.idle_s):
            return await self.reader.readexactly(count)

    async def send(self, data: bytes) -> None:
        """Pass data on, as fast as it is taken."""
        self.writer.write(data)
        async with asyncio.timeout(self.idle_s):
            await self.writer.drain()

    async def finish(self) -> None:
        """End one's own side and drop what still comes, so that what was said last is read."""
        with contextlib.suppress(OSError, TimeoutError):
            if self.writer.can_write_eof():
                self.writer.write_eof()
            dropped = 0
            async with asyncio.timeout(_LINGER_S):
                while dropped < _LINGER_BYTES:
                    data = await self.reader.read(_BLOCK_BYTES)
                    if not data:
                        return
                    dropped += len(data)

    async def close(self) -> None:
        """Close it, at once where the other side no longer takes anything."""
        self.writer.close()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.writer.wait_closed()
        except (OSError, TimeoutError):
            self.writer.transport.abort()
        except asyncio.CancelledError:
            self.writer.transport.abort()
            raise


async def splice(near: Stream, far: Stream) -> None:
    """Pass bytes both ways, half-close included, until both ends are done or neither says more."""
    passing = _Passing(min(near.idle_s, far.idle_s))
    with contextlib.suppress(OSError, TimeoutError):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(passing.copy(near, far))
                group.create_task(passing.copy(far, near))
        except* (OSError, TimeoutError) as errors:
            raise errors.exceptions[0] from None


class _Passing:
    """Two directions that keep each other alive."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()

    async def copy(self, source: Stream, target: Stream) -> None:
        while True:
            try:
                async with asyncio.timeout_at(self._last + self._idle_s):
                    data = await source.reader.read(_BLOCK_BYTES)
            except TimeoutError:
                if self._loop.time() < self._last + self._idle_s:
                    continue
                raise
            self._last = self._loop.time()
            if not data:
                if target.writer.can_write_eof():
                    target.writer.write_eof()
                return
            await target.send(data)
