"""A VNC server that says exactly what a test wants, byte by byte if need be."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable

from hud.protocol.capability import Capability

SIZE = (8, 4)
Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def greet(self, version: bytes = b"003.008", *, size: tuple[int, int] = SIZE) -> None:
        """Do the handshake, asking for no password."""
        self.writer.write(b"RFB " + version + b"\n")
        answered = await self.reader.readexactly(12)
        if answered == b"RFB 003.003\n":
            self.writer.write(struct.pack(">I", 1))
        else:
            self.writer.write(b"\x01\x01")
            assert await self.reader.readexactly(1) == b"\x01"
            if answered == b"RFB 003.008\n":
                self.writer.write(bytes(4))
        await self.reader.readexactly(1)
        self.writer.write(struct.pack(">HH16xI", *size, 4) + b"fake")

    async def asked(self) -> tuple[bool, int, int, int, int]:
        """Return the next request for pixels: incremental, x, y, width, height."""
        while True:
            kind = (await self.reader.readexactly(1))[0]
            if kind == 3:
                incremental, *place = struct.unpack(">BHHHH", await self.reader.readexactly(9))
                return bool(incremental), place[0], place[1], place[2], place[3]
            if kind == 2:
                (count,) = struct.unpack(">xH", await self.reader.readexactly(3))
                await self.reader.readexactly(4 * count)
            else:
                await self.reader.readexactly({0: 19, 4: 7, 5: 5}[kind])

    def update(self, *rectangles: bytes) -> None:
        self.writer.write(struct.pack(">BxH", 0, len(rectangles)) + b"".join(rectangles))

    async def slowly(self, data: bytes) -> None:
        """Send byte by byte."""
        for byte in data:
            self.writer.write(bytes([byte]))
            await self.writer.drain()
            await asyncio.sleep(0)


def rectangle(x: int, y: int, width: int, height: int, encoding: int, data: bytes = b"") -> bytes:
    return struct.pack(">HHHHi", x, y, width, height, encoding) + data


def filled(colour: int, x: int = 0, y: int = 0, width: int = 8, height: int = 4) -> bytes:
    """Return a rectangle of one colour (red, green, blue)."""
    return rectangle(x, y, width, height, 0, struct.pack("<I", colour) * (width * height))


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncGenerator[Capability]:
    """Serve every connection by `script`; the connection ends with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(Peer(reader, writer))
        except (EOFError, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Capability.rfb(url=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
