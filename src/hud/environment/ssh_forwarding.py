"""What an SSH client serves inside a workspace: listening sockets there, joined to its connection.

Only who holds the workspace's key can ask for one. The sockets are made in the sandbox; a
connection to one becomes a channel to the client, which the client answers.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import asyncssh

from hud._core.errors import Fault
from hud._core.relay import Relay
from hud.sandbox.egress_forward import Forward, Reach
from hud.sandbox.link import CannotStart

logger = logging.getLogger(__name__)

MAX_LISTENERS = 16
"""Of one SSH connection, at once."""
MAX_CONNECTIONS = 128
"""To one listener, at once."""
LOOPBACK = ("localhost", "127.0.0.1")
_FIRST_FREE_PORT = 1024

Listen = Callable[[int | str], Awaitable[socket.socket]]


class Forwarding:
    """The listeners of one SSH connection. They end with it.

    Args:
        conn: The connection of the client that serves.
        listen: Makes a listening socket in the sandbox, on a port or at a path.
    """

    def __init__(self, conn: asyncssh.SSHServerConnection, listen: Listen) -> None:
        self._conn = conn
        self._listen = listen
        self._count = 0

    async def at_port(self, host: str, port: int) -> Listener | bool:
        """Serve a port of the sandbox's loopback, 0 for any; False where that is refused."""
        if host not in LOOPBACK or 0 < port < _FIRST_FREE_PORT:
            return False
        return await self._open(port, lambda bound: _port_reach(self._conn, host, bound))

    async def at_path(self, path: str) -> Listener | bool:
        """Serve a Unix socket inside; False where that is refused."""
        return await self._open(path, lambda _: _path_reach(self._conn, path))

    async def _open(self, where: int | str, reach: Callable[[int], Reach]) -> Listener | bool:
        if self._count >= MAX_LISTENERS:
            return False
        self._count += 1
        try:
            sock = await self._listen(where)
        except (CannotStart, Fault) as error:
            self._ended()
            logger.info("nothing is served at %r in a workspace: %s", where, error)
            return False
        except BaseException:
            self._ended()
            raise
        port = cast("int", sock.getsockname()[1]) if isinstance(where, int) else 0
        forward = Forward(sock, reach(port), connections=MAX_CONNECTIONS)
        listener = Listener(forward, port, self._ended)
        if self._conn.is_closed():
            listener.close()
            return False
        await forward.start()
        return listener

    def _ended(self) -> None:
        self._count -= 1


class Listener(asyncssh.SSHListener):
    """One listening socket in the sandbox, as asyncssh keeps it; closing cuts its connections."""

    def __init__(self, forward: Forward, port: int, ended: Callable[[], None]) -> None:
        super().__init__()
        self._forward = forward
        self._port = port
        self._ended: Callable[[], None] | None = ended

    def get_port(self) -> int:
        return self._port

    def close(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()
            self._forward.close()

    async def wait_closed(self) -> None:
        await self._forward.aclose()


class _Channel:
    """An SSH channel as the transport of a relay.

    What asyncssh calls closing begins with one's own end of data, while the other side may go on.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._is_closing = False

    def write(self, data: bytes) -> None:
        self._channel.write(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._channel.write_eof()

    def pause_reading(self) -> None:
        self._channel.pause_reading()

    def resume_reading(self) -> None:
        self._channel.resume_reading()

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True
        self._channel.close()


class _Session:
    """What asyncssh calls for a channel, passed on to a relay."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._channel: _Channel | None = None

    def connection_made(self, chan: Any) -> None:
        self._channel = _Channel(chan)
        self._relay.connection_made(cast("asyncio.Transport", self._channel))

    def session_started(self) -> None:
        """Nothing is sent before the other side does."""

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._relay.data_received(data)

    def eof_received(self) -> bool:
        return self._relay.eof_received()

    def pause_writing(self) -> None:
        self._relay.pause_writing()

    def resume_writing(self) -> None:
        self._relay.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._channel is not None:
            self._channel.close()
        self._relay.connection_lost(exc)


def _port_reach(conn: Any, host: str, port: int) -> Reach:
    async def reach(far: Relay) -> None:
        await _opened(conn.create_connection(lambda: _Session(far), host, port, host, 0))

    return reach


def _path_reach(conn: Any, path: str) -> Reach:
    async def reach(far: Relay) -> None:
        await _opened(conn.create_unix_connection(lambda: _Session(far), path))

    return reach


async def _opened(opening: Awaitable[Any]) -> None:
    try:
        await opening
    except asyncssh.Error as error:
        raise ConnectionRefusedError(f"the client refused: {error.reason}") from error
