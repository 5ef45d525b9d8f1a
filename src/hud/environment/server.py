"""Serve an environment: one object that owns its sessions, connections and running user code.

`python -m hud.environment.server PATH` is what containers and child processes run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from hud._core.errors import InputError
from hud.environment.connection import ServerConnection
from hud.environment.environment import Environment
from hud.environment.sessions import SessionTable

logger = logging.getLogger(__name__)

STOP_GRACE_S = 5.0
DEFAULT_PORT = 8765


class EnvironmentServer:
    """Sessions and connections of one environment, whatever transport brings them.

    `connection` is the protocol factory for any asyncio server or memory listener. `start` runs
    the initialize hooks; `aclose` ends every connection, closes every suspended task and runs
    the shutdown hooks.
    """

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.sessions = SessionTable()
        self._connections: set[ServerConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Run the environment's initialize hooks.

        Raises:
            EnvironmentFault: when one of them raises.
        """
        await self.env.start()

    def connection(self) -> ServerConnection:
        """Return the protocol for one new connection."""
        return ServerConnection(self)

    def opened(self, connection: ServerConnection) -> None:
        self._connections.add(connection)

    def closed(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run user code or a tunnel in a task that this server owns."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """End everything this server holds, bounded in time, then run the shutdown hooks."""
        for connection in list(self._connections):
            connection.close()
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(list(self._tasks), timeout=STOP_GRACE_S)
        for episode in self.sessions.forget_all():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_GRACE_S):
                    await episode.close()
        await self.env.stop()


@contextlib.asynccontextmanager
async def bind(
    env: Environment,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    path: str | None = None,
    sock: socket.socket | None = None,
) -> AsyncGenerator[str]:
    """Serve `env` inside an `async with` block and yield its address.

    The hooks have run and connections are accepted when the block begins; everything is closed
    when it ends.

    Args:
        host: Interface to listen on.
        port: TCP port, 0 for any free one.
        path: Listen on a Unix socket at this path instead.
        sock: Listen on this bound socket instead (taken over and closed).

    Raises:
        EnvironmentFault: when an initialize hook raises.
        InputError: when the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    server = EnvironmentServer(env)
    await server.start()
    try:
        try:
            if sock is not None and sock.family == socket.AF_UNIX:
                listener = await loop.create_unix_server(server.connection, sock=sock)
            elif sock is not None:
                listener = await loop.create_server(server.connection, sock=sock)
            elif path is not None:
                listener = await loop.create_unix_server(server.connection, path)
            else:
                listener = await loop.create_server(server.connection, host, port)
        except OSError as error:
            where = path or f"{host}:{port}"
            raise InputError(
                f"cannot listen on {where}: {error.strerror or error}",
                hint="choose another port with --port, or 0 for any free one",
            ) from error
        try:
            yield _address(listener)
        finally:
            listener.close()
    finally:
        await server.aclose()


def _address(listener: asyncio.Server) -> str:
    name = listener.sockets[0].getsockname()
    return f"tcp://{name[0]}:{name[1]}" if isinstance(name, tuple) else f"unix://{name}"


async def serve(
    env: Environment,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    sock: socket.socket | None = None,
    announce: bool = True,
) -> None:
    """Serve `env` until SIGTERM, SIGINT or cancellation, then shut it down.

    Prints `HUD_SERVE_PORT=<port>` on stdout once connections are accepted, when `announce`.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(number, stop.set)
    async with bind(env, host=host, port=port, sock=sock) as url:
        if announce:
            sys.stdout.write(f"HUD_SERVE_PORT={url.rpartition(':')[2]}\n")
            sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    from hud.environment._entry import main

    sys.exit(main())
