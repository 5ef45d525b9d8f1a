"""A socket of this machine that leads to a control port far away, one stream per connection.

How a stream gets there is the vendor's; see `Stream`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol

from hud._core.errors import bounded
from hud.sandbox import folders

logger = logging.getLogger(__name__)

PIECE_BYTES = 64 * 1024


class Stream(Protocol):
    """Bytes both ways to the control port."""

    async def read(self) -> bytes:
        """Return what came, b"" once nothing more will."""
        ...

    async def write(self, data: bytes) -> None:
        """Send `data`; returns once more may be sent."""
        ...

    async def close(self) -> None:
        """Let go of the stream; may be called when it is broken already."""
        ...


Dial = Callable[[], Awaitable[Stream]]


class Door:
    """Listens at `path` while entered; every connection gets a stream of its own.

    Args:
        dial: Opens a stream; what it raises closes the connection that asked for it.
    """

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._folder = tempfile.TemporaryDirectory(prefix=folders.prefix_of("door"))
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.path = f"{self._folder.name}/control"
        self.last_error: str | None = None

    async def __aenter__(self) -> Door:
        await asyncio.to_thread(folders.sweep_once)
        self._server = await asyncio.start_unix_server(self._accept, self.path, limit=PIECE_BYTES)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.hang_up()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        self._folder.cleanup()

    def hang_up(self) -> None:
        """Close every connection and take no more: what was at the far end is gone."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # the door is closing
        except Exception as error:
            self.last_error = bounded(f"{type(error).__qualname__}: {error}", 300)
            logger.debug("a stream to a control port broke: %s", self.last_error)
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = await self._dial()
        try:
            await splice(stream, reader, writer)
        finally:
            await stream.close()


async def splice(
    stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Pass bytes both ways until either end is gone."""

    async def outward() -> None:
        while piece := await reader.read(PIECE_BYTES):
            await stream.write(piece)

    async def inward() -> None:
        while piece := await stream.read():
            writer.write(piece)
            await writer.drain()

    ways = [asyncio.create_task(outward()), asyncio.create_task(inward())]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in done:
            way.result()
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
