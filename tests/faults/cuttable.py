"""A way through which a server is reached, that can be cut, or fall silent, in each direction."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

_PIECE = 1 << 16


class Way:
    """Leads to a port of this machine, one connection for one.

    Attributes:
        port: Where it is entered.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent = {"to the server": asyncio.Event(), "to the client": asyncio.Event()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[Way]:
        """Lead there while the block runs."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection, as seen from both ends; new ones get through."""
        for writer in self._writers:
            writer.transport.abort()

    def close(self) -> None:
        """Break every connection, and let none through any more."""
        self._is_closed = True
        self.cut()

    def fall_silent(self, direction: str) -> None:
        """Let nothing more through in a direction, on the connections there are; nobody is told."""
        self._silent[direction].set()
        self._silent[direction] = asyncio.Event()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            if self._is_closed:
                return
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(far)
            up = asyncio.create_task(_lead(reader, far, self._silent["to the server"]))
            down = asyncio.create_task(_lead(far_reader, writer, self._silent["to the client"]))
            try:
                await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in (up, down):
                    way.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for one in (writer, far):
                if one is not None:
                    self._writers.discard(one)
                    one.transport.abort()


async def _lead(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: asyncio.Event
) -> None:
    while piece := await reader.read(_PIECE):
        if not silent.is_set():
            writer.write(piece)
            await writer.drain()
