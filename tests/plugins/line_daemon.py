"""A daemon of the made-up `line/1` protocol, in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from hud.capabilities import Capability


class LineDaemon:
    """Answers each line with the same in capitals.

    Attributes:
        port: Where it listens, on loopback.
        accepted: How many connections it has accepted.
        open: Those that are open now.
    """

    def __init__(self) -> None:
        self.port = 0
        self.accepted = 0
        self.open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def row(self) -> Capability:
        return Capability("line", "line/1", f"line://127.0.0.1:{self.port}")

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open.add(writer)
        writer.write(b"line/1\n")
        try:
            with contextlib.suppress(OSError):
                while line := await reader.readline():
                    writer.write(line.upper())
                    await writer.drain()
        finally:
            self.open.discard(writer)
            writer.close()

    async def kill(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        for writer in list(self.open):
            writer.transport.abort()


@contextlib.asynccontextmanager
async def line_daemon() -> AsyncGenerator[LineDaemon]:
    daemon = LineDaemon()
    await daemon.start()
    try:
        yield daemon
    finally:
        await daemon.kill()
