"""Serve an environment: one object that owns its sessions, connections and running user code.

`python -m hud.environment.server PATH` is what containers and child processes run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any, cast

from hud._core.errors import InputError
from hud.environment.connection import ServerConnection
from hud.environment.environment import Environment
from hud.environment.sessions import SessionTable

logger = logging.getLogger(__name__)

STOP_GRACE_S = 5.0
DEFAULT_PORT = 8765
_READY_S = 5.0


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
        self._calls: set[asyncio.Task[None]] = set()
        self._cleanups: set[asyncio.Task[None]] = set()
        self._stopping = False

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
        if self._stopping:
            connection.close()

    def closed(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)

    def spawn(
        self, work: Coroutine[Any, Any, None], *, cleanup: bool = False
    ) -> asyncio.Task[None]:
        """Run user code or a stream in a task that this server owns.

        Args:
            cleanup: The task only ends something: stopping lets it finish, within the grace.
        """
        task = asyncio.get_running_loop().create_task(work)
        held = self._cleanups if cleanup else self._calls
        held.add(task)
        task.add_done_callback(held.discard)
        return task

    async def aclose(self) -> None:
        """End everything this server holds, bounded in time, then run the shutdown hooks."""
        self._stopping = True
        for connection in list(self._connections):
            connection.stop()
        for task in self._calls:
            if not task.cancelling():
                task.cancel()
        await self._settle(self._calls, self._cleanups)
        for episode in self.sessions.forget_all():
            self.spawn(episode.close(), cleanup=True)
        await self._settle(self._cleanups)
        await self.env.stop()

    async def _settle(self, *held: set[asyncio.Task[None]]) -> None:
        """Wait for the tasks in these sets, and cancel the clean-ups that exceed the grace."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STOP_GRACE_S
        while tasks := set[asyncio.Task[None]]().union(*held):
            left = deadline - loop.time()
            if left <= 0:
                logger.warning("%d tasks still run after %g s", len(tasks), STOP_GRACE_S)
                for task in self._cleanups:
                    task.cancel()
                await asyncio.wait(tasks, timeout=1.0)
                return
            await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)


@contextlib.asynccontextmanager
async def bind(
    env: Environment,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    path: str | None = None,
    sock: socket.socket | None = None,
    beside: str | None = None,
) -> AsyncGenerator[str]:
    """Serve `env` inside an `async with` block and yield its address.

    The hooks have run and connections are accepted when the block begins; everything is closed
    when it ends.

    Args:
        host: Interface to listen on.
        port: TCP port, 0 for any free one.
        path: Listen on a Unix socket at this path instead.
        sock: Listen on this bound socket instead (taken over and closed).
        beside: Listen on a Unix socket at this path as well.

    Raises:
        EnvironmentFault: when an initialize hook raises.
        InputError: when the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    server = EnvironmentServer(env)
    factory = server.connection
    await server.start()
    try:
        try:
            if sock is not None and sock.family == socket.AF_UNIX:
                listener = await loop.create_unix_server(factory, sock=sock, start_serving=False)
            elif sock is not None:
                listener = await loop.create_server(factory, sock=sock, start_serving=False)
            elif path is not None:
                listener = await loop.create_unix_server(factory, path, start_serving=False)
            else:
                listener = await loop.create_server(factory, host, port, start_serving=False)
        except OSError as error:
            where = path or f"{host}:{port}"
            raise InputError(
                f"cannot listen on {where}: {error.strerror or error}",
                hint="choose another port with --port, or 0 for any free one",
            ) from error
        try:
            async with _beside(factory, beside):
                # Serving begins here, where a cancellation finds the listener's owner.
                await listener.start_serving()
                yield _address(listener)
        finally:
            listener.close()
            if path is not None:
                Path(path).unlink(missing_ok=True)
    finally:
        await server.aclose()


@contextlib.asynccontextmanager
async def _beside(
    factory: Callable[[], ServerConnection], path: str | None
) -> AsyncGenerator[None]:
    """Listen on a Unix socket too, when a path is given."""
    if path is None:
        yield
        return
    try:
        listener = await asyncio.get_running_loop().create_unix_server(factory, path)
    except OSError as error:
        raise InputError(f"cannot listen on {path}: {error.strerror or error}") from error
    try:
        yield
    finally:
        listener.close()
        Path(path).unlink(missing_ok=True)


def _say_ready(path: str) -> None:
    """Tell whoever waits at this Unix socket that connections are accepted; nobody may wait."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as waiting:
        waiting.settimeout(_READY_S)
        waiting.connect(path)
        waiting.sendall(b"ready\n")


def _address(listener: asyncio.Server) -> str:
    name: Any = listener.sockets[0].getsockname()
    if not isinstance(name, tuple):
        return f"unix://{name}"
    host, port = cast("tuple[str, int]", name[:2])
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


async def serve(
    env: Environment,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    sock: socket.socket | None = None,
    announce: bool = True,
) -> None:
    """Serve `env` until SIGTERM, SIGINT or cancellation, then shut it down.

    Listens at the Unix socket that `HUD_SERVE_SOCKET` names as well; `HUD_SERVE_READY` names one
    to connect to when that is so. With `announce`, prints `HUD_SERVE_PORT=<port>` on stdout. A
    signal that comes before interrupts the initialize hooks; a second SIGINT is not held back.
    """
    stop = asyncio.Event()
    with _stopped_by_signals(stop) as ready:
        beside = os.environ.get("HUD_SERVE_SOCKET") or None
        async with bind(env, host=host, port=port, sock=sock, beside=beside) as url:
            ready()
            if waiting := os.environ.get("HUD_SERVE_READY"):
                _say_ready(waiting)
            if announce:
                sys.stdout.write(f"HUD_SERVE_PORT={url.rpartition(':')[2]}\n")
                sys.stdout.flush()
            await stop.wait()


@contextlib.contextmanager
def _stopped_by_signals(stop: asyncio.Event) -> Generator[Callable[[], None]]:
    """Set `stop` on a signal; until the yielded function was called, cancel this task instead."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    ready = False

    def on_signal(number: signal.Signals) -> None:
        if number is signal.SIGINT:
            loop.remove_signal_handler(number)
        if not ready and not stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    def now_ready() -> None:
        nonlocal ready
        ready = True

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(number, on_signal, number)
    try:
        yield now_ready
    except asyncio.CancelledError:
        if ready or not stop.is_set() or task is None or task.uncancel() > 0:
            raise
    finally:
        for number in numbers:
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
                loop.remove_signal_handler(number)


if __name__ == "__main__":
    from hud.environment._entry import main

    sys.exit(main())
