"""A relay as bare as asyncio has it, and a far side that sends, for floors of streams."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast


class _Side(asyncio.Protocol):
    """One side of a relay: what comes in goes out at the other, as fast as that takes it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self.early = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)
        else:
            self.early += data

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


class _Near(_Side):
    def __init__(self, target: int) -> None:
        super().__init__()
        self._target = target
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        far = _Side()
        await loop.create_connection(lambda: far, "127.0.0.1", self._target)
        far.other, self.other = self, far
        if self.early and far.transport is not None:
            far.transport.write(bytes(self.early))


@asynccontextmanager
async def relay(target: int) -> AsyncGenerator[int]:
    """Listen, pass every connection on to a port, and yield where."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Near(target), "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


@asynccontextmanager
async def in_process(*arguments: str) -> AsyncGenerator[int]:
    """Run one of this file's servers in a process of its own, and yield its port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.programs.relays", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a number with as many bytes; 0 with one, for its delay."""
    block = bytes(1 << 18)
    while line := await reader.readline():
        left = int(line) or 1
        while left > 0:
            writer.write(block[:left])
            await writer.drain()
            left -= len(block)
    writer.close()


async def _serve_environment(kind: str, target: int) -> None:
    from hud import Environment
    from hud.environment import Capability
    from hud.environment.server import bind

    match kind:
        case "browser":
            row = Capability.cdp(url=f"http://127.0.0.1:{target}")
        case "screen":
            row = Capability.rfb(url=f"127.0.0.1:{target}")
        case _:
            row = Capability("far", "line/1", f"tcp://127.0.0.1:{target}")
    async with bind(Environment("far", capabilities=[row])) as url:
        print(url.rpartition(":")[2], flush=True)
        await asyncio.Event().wait()


async def main(kind: str, target: int = 0) -> None:
    match kind:
        case "send":
            server = await asyncio.start_server(_send, "127.0.0.1", 0)
            print(server.sockets[0].getsockname()[1], flush=True)
            await asyncio.Event().wait()
        case "relay":
            async with relay(target) as port:
                print(port, flush=True)
                await asyncio.Event().wait()
        case _:
            await _serve_environment(kind, target)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *(int(argument) for argument in sys.argv[2:])))
