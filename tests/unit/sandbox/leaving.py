"""A proxy on loopback, servers behind it, and raw conversations with it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from dataclasses import dataclass, field

from hud.sandbox.egress import EgressEvent, EgressLimits, EgressPolicy, EgressProxy

DEADLINE_S = 30.0

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def unused_port() -> int:
    with listener() as probe:
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[int]:
    """Serve on loopback; yield the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(talk(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write(b"<end>")
    await writer.drain()


@dataclass
class Origin:
    """An HTTP server that answers every request alike and remembers the bytes it got."""

    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    body_bytes: int = 0
    heads: list[bytes] = field(default_factory=list[bytes])
    bodies: list[bytes] = field(default_factory=list[bytes])

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        if self.body_bytes:
            self.bodies.append(await reader.readexactly(self.body_bytes))
        writer.write(self.answer)
        await writer.drain()


@dataclass
class Leaving:
    """A running proxy and what it noted."""

    proxy: EgressProxy
    port: int
    events: list[EgressEvent]
    asked: list[str]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, data: bytes, *, eof: bool = False) -> bytes:
        """Send raw bytes and return all that comes back until the proxy hangs up."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            if eof:
                writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def leaving(
    allowed: Collection[str] | None,
    *,
    names: dict[str, list[str]] | None = None,
    limits: EgressLimits | None = None,
    on_event: Callable[[EgressEvent], None] | None = None,
) -> AsyncGenerator[Leaving]:
    """Run a proxy whose resolver knows `names` only; it reads them afresh each time."""
    asked: list[str] = []
    events: list[EgressEvent] = []

    async def resolve(name: str, port: int) -> list[str]:
        asked.append(name)
        if name not in (names or {}):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return (names or {})[name]

    proxy = EgressProxy(
        EgressPolicy(allowed), limits=limits, on_event=on_event or events.append, resolve=resolve
    )
    sock = listener()
    try:
        await proxy.serve(sock)
        yield Leaving(proxy, sock.getsockname()[1], events, asked)
    finally:
        await proxy.aclose()
        sock.close()
