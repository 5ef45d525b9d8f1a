"""The SSH server of a workspace: who may log in, and which sessions become processes.

Running them inside the sandbox is `ssh_session`'s and the workspace's part; what a client serves
inside over its connection is `ssh_forwarding`. Connections that begin outside (local forwarding),
agent forwarding and X11 are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from typing import Any

import asyncssh

from hud._core.errors import CapabilityFault
from hud.environment.ssh_forwarding import Forwarding
from hud.environment.ssh_session import Host, Session

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
MAX_SESSIONS = 512
_LOGIN_S = 20
_CLOSE_S = 2.0
# Authenticated ciphers in hardware first; an agent's connection never leaves the machine unwrapped.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")


class SSHServer:
    """Serve one workspace's shell on a TCP port."""

    def __init__(
        self, host: Host, host_key: asyncssh.SSHKey, client_keys: Sequence[asyncssh.SSHKey]
    ) -> None:
        self.host = host
        self.client_keys = {key.public_data for key in client_keys}
        self._host_key = host_key
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._connections: set[Connection] = set()
        self._sessions = 0
        self.is_admitting = True

    async def start(self, address: str, port: int) -> int:
        """Listen, and return the port.

        Raises:
            CapabilityFault: when the address cannot be listened on.
        """
        try:
            self._acceptor = await asyncssh.listen(
                address,
                port,
                server_factory=lambda: Connection(self),
                server_host_keys=[self._host_key],
                encoding=None,
                line_editor=False,
                agent_forwarding=False,
                x11_forwarding=False,
                allow_scp=False,
                compression_algs=None,
                encryption_algs=_CIPHERS,
                login_timeout=_LOGIN_S,
                server_version="hud",
            )
        except OSError as error:
            raise CapabilityFault(
                f"the SSH server cannot listen on {address}:{port}: {error.strerror or error}"
            ) from error
        return self._acceptor.get_port()

    def admit(self, connection: Connection) -> bool:
        """Take a new connection, unless there are too many or nobody may connect now."""
        if not self.is_admitting or len(self._connections) >= MAX_CONNECTIONS:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def session(self, connection: Connection) -> Session | None:
        """Return the handler of a new session, or None when there are too many."""
        if not self.is_admitting or self._sessions >= MAX_SESSIONS:
            return None
        self._sessions += 1
        return Session(self.host, connection.processes, self._ended)

    def _ended(self) -> None:
        self._sessions -= 1

    async def listen(self, where: int | str) -> socket.socket:
        """Return a socket that listens in the sandbox, on a port of its loopback or at a path.

        Raises:
            CannotStart: when it cannot be made there.
            CapabilityFault: when nobody may have one now.
        """
        if not self.is_admitting:
            raise CapabilityFault("the episode has ended")
        return await self.host.listen(where)

    async def disconnect(self) -> None:
        """Cut every connection and wait until their handlers are done."""
        waiting: list[Any] = []
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.transport.abort()
                waiting.append(connection.transport.wait_closed())
        if waiting:
            # Who is cut off has no part in when that is done with.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await asyncio.gather(*waiting, return_exceptions=True)

    async def stop(self) -> None:
        """Listen no more and cut every connection."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
        await self.disconnect()
        if acceptor is not None:
            await acceptor.wait_closed()


class Connection(asyncssh.SSHServer):
    """One SSH connection, and the processes that its sessions started."""

    def __init__(self, server: SSHServer) -> None:
        self._server = server
        self.transport: asyncssh.SSHServerConnection | None = None
        self.processes: list[Any] = []
        self._forwarding: Forwarding | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.transport = conn
        self._forwarding = Forwarding(conn, self._server.listen)
        if not self._server.admit(self):
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        self._server.host.hang_up(self.processes)
        self.processes = []

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return False

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._server.host.user and key.public_data in self._server.client_keys

    async def server_requested(self, listen_host: str, listen_port: int) -> Any:
        assert self._forwarding is not None
        return await self._forwarding.at_port(listen_host, listen_port)

    async def unix_server_requested(self, listen_path: str) -> Any:
        assert self._forwarding is not None
        return await self._forwarding.at_path(listen_path)

    def session_requested(self) -> Any:
        return self._server.session(self) or False
