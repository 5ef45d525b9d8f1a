"""The driver's end of one place: a Unix socket here, whose connections lead to it on its node."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hud._core.relay import Relay
from hud.runtimes.ray import greeting
from hud.runtimes.ray.gate import GREET_S, Greeter

logger = logging.getLogger(__name__)

_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach a place: its node's port, its name there and the secret that opens it."""

    host: str
    port: int
    place: bytes
    secret: bytes


class Door:
    """Listen at `path`, for this user only. `open`, then `aclose` in every case."""

    def __init__(self, path: str, way: Way) -> None:
        self.path = path
        self._way = way
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: when that is not possible.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(self.path)
            Path(self.path).chmod(0o600)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(
                lambda: _Near(self), sock=listener, backlog=_BACKLOG
            )
        except BaseException:
            listener.close()
            raise

    def begin(self, near: Relay) -> None:
        """Lead a connection to the place."""
        task = asyncio.get_running_loop().create_task(self._lead(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lead(self, near: Relay) -> None:
        far = Greeter()
        way = self._way
        try:
            async with asyncio.timeout(GREET_S):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: far, way.host, way.port)
                opening = way.place + greeting.nonce()
                far.send(opening)
                said = await far.take(greeting.ANSWER_BYTES)
                answer, proof = said[: greeting.NONCE_BYTES], said[greeting.NONCE_BYTES :]
                if not greeting.is_same(proof, greeting.node_proof(way.secret, opening, answer)):
                    raise ConnectionAbortedError("what answers there is not the place's node")
                far.send(greeting.driver_proof(way.secret, opening, answer))
            if near.transport is not None and not near.transport.is_closing():
                near.transport.resume_reading()
            far.join(near)
            await asyncio.wait([near.closed, far.closed])
        except (OSError, TimeoutError) as error:
            logger.info("a connection to %s:%d failed: %s", way.host, way.port, error)
        finally:
            near.close()
            far.close()

    def break_off(self) -> None:
        """End every connection: the node is gone, whatever its side of them says."""
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Stop listening and end every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            with contextlib.suppress(OSError):
                Path(self.path).unlink()
        if self._tasks:
            self.break_off()
            await asyncio.wait(list(self._tasks))


class _Near(Relay):
    """A connection from this machine; it reads nothing until the way is open."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).pause_reading()
        self._door.begin(self)
