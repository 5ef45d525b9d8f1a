"""Something of this machine served inside an SSH daemon's: remote forwarding over its connection.

Where it listens is the daemon's side; each connection made there reaches a handler here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncssh

from hud._core.errors import CapabilityFault

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_CONNECTIONS = 256
_BLOCK_BYTES = 1 << 16
_CLOSE_S = 5.0

Reader = Any
"""Reads bytes as `asyncio.StreamReader` does."""
Writer = Any
"""Writes bytes as `asyncio.StreamWriter` does."""
Handler = Callable[[Reader, Writer], Awaitable[None]]
"""Serves one connection; it is closed when the handler returns or raises."""
Target = Handler | tuple[str, int]


@dataclass(frozen=True, slots=True)
class ServedAt:
    """Where something is served inside.

    Attributes:
        port: On the daemon's loopback; 0 for a path.
        path: Of the Unix socket, None for a port.
    """

    port: int = 0
    path: str | None = None

    @property
    def host(self) -> str:
        """The daemon's loopback."""
        return HOST

    def __str__(self) -> str:
        return self.path or f"{HOST}:{self.port}"


@contextlib.asynccontextmanager
async def serving(
    conn: asyncssh.SSHClientConnection,
    name: str,
    target: Target,
    *,
    port: int = 0,
    path: str | None = None,
) -> AsyncGenerator[ServedAt]:
    """Serve `target` over a connection while the block is open.

    Args:
        name: Of the capability, for messages.

    Raises:
        CapabilityFault: when the daemon refuses, or the connection is lost.
    """
    connections = _Connections(target if callable(target) else forwarding(target[0], target[1]))
    listener: asyncssh.SSHListener | None = None
    try:
        try:
            if path is None:
                listener = await conn.start_server(connections.accept, HOST, port)
            else:
                listener = await conn.start_unix_server(connections.accept, path)
        except (asyncssh.Error, asyncssh.ChannelListenError, OSError) as error:
            where = path or f"port {port}" if path or port else "a port of its loopback"
            raise CapabilityFault(
                f"capability {name!r}: the daemon lets nothing be served at {where}: {error}",
                hint="an OpenSSH daemon needs AllowTcpForwarding and AllowStreamLocalForwarding; a "
                "workspace isolated by uid has no loopback of its own, and serves Unix sockets",
            ) from error
        yield ServedAt(0 if path else listener.get_port(), path)
    finally:
        if listener is not None:
            listener.close()
            if not conn.is_closed():
                with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
                    async with asyncio.timeout(_CLOSE_S):
                        await listener.wait_closed()
        await connections.end()


class _Connections:
    """The connections made to one listener, each with the task that serves it."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = False

    def accept(self, *peer: Any) -> Callable[[Reader, Writer], None]:
        """Return what takes a connection on, as asyncssh asks for each."""
        return self.serve

    def serve(self, reader: Reader, writer: Writer) -> None:
        """Take one connection on."""
        if self._is_over or len(self._tasks) >= MAX_CONNECTIONS:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Cut what is left and wait until its handlers are done."""
        self._is_over = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        try:
            await self._handler(reader, writer)
        except (OSError, asyncssh.Error, EOFError) as error:
            logger.debug("a connection served over SSH broke: %s", error)
        except Exception:
            logger.exception("serving a connection over SSH failed")
        finally:
            writer.close()


def forwarding(host: str, port: int) -> Handler:
    """Return a handler that passes each connection on to an address of this machine's network."""

    async def handle(reader: Reader, writer: Writer) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        try:
            await splice(reader, writer, far_reader, far_writer)
        finally:
            far_writer.close()

    return handle


async def splice(
    reader: Reader, writer: Writer, far_reader: asyncio.StreamReader, far_writer: Writer
) -> None:
    """Pass bytes both ways, half-close included, until both sides are done.

    Raises:
        OSError, asyncssh.Error: when a side breaks.
    """
    tasks = [
        asyncio.ensure_future(_copy(reader, far_writer)),
        asyncio.ensure_future(_copy(far_reader, writer)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _copy(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(_BLOCK_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        with contextlib.suppress(OSError):
            writer.write_eof()
