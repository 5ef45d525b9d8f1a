"""A node's end of control connections: one port, which leads to a place whoever knows its secret.

The place itself listens on a Unix socket of this node only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from hud._core.accepting import Leading
from hud._core.relay import Relay
from hud.clients.dial import dial
from hud.runtimes.ray import greeting

GREET_S = 10.0
_STRANGERS = 256  # connections at once that have proved nothing yet


@dataclass(frozen=True, slots=True)
class Lock:
    """Where a place listens, and the secret that opens the way to it."""

    url: str
    secret: bytes


class Gate:
    """Listen on one address of this node. `open`, then `aclose` in every case."""

    def __init__(self, locks: Mapping[bytes, Lock]) -> None:
        self.locks = locks
        self._server: asyncio.Server | None = None
        self._waiting = 0
        self._leading = Leading()

    async def open(self, host: str) -> int:
        """Listen on a free port of `host` and return it.

        Raises:
            OSError: when that is not possible.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Caller(self), host, 0)
        return int(self._server.sockets[0].getsockname()[1])

    def begin(self, caller: _Caller) -> None:
        """Let a caller in who proves that it may."""
        if self._waiting >= _STRANGERS:
            caller.close()
            return
        self._leading.begin(self._lead(caller))

    async def _lead(self, caller: _Caller) -> None:
        place = Relay()
        try:
            self._waiting += 1
            try:
                async with asyncio.timeout(GREET_S):
                    lock = await self._greet(caller)
                    if lock is None:
                        return
                    await dial(lock.url, lambda: place)
            finally:
                self._waiting -= 1
            caller.join(place)
            await asyncio.wait([caller.closed, place.closed])
        except (OSError, TimeoutError):
            return
        finally:
            caller.close()
            place.close()

    async def _greet(self, caller: _Caller) -> Lock | None:
        opening = await caller.take(greeting.OPENING_BYTES)
        lock = self.locks.get(opening[: greeting.PLACE_BYTES])
        if lock is None:
            return None
        answer = greeting.nonce()
        caller.send(answer + greeting.node_proof(lock.secret, opening, answer))
        proof = await caller.take(greeting.PROOF_BYTES)
        if not greeting.is_same(proof, greeting.driver_proof(lock.secret, opening, answer)):
            return None
        return lock

    async def aclose(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        await self._leading.aclose()


class Greeter(Relay):
    """A side of a splice whose first bytes are a greeting, and read one piece at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._head = bytearray()
        self._has_ended = False
        self._wanted: tuple[int, asyncio.Future[bytes]] | None = None

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.send(data)
            return
        self._head += data
        self._hand_out()
        if self._wanted is None and self.transport is not None:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._give_up()

    def eof_received(self) -> bool:
        self._has_ended = True
        self._give_up()
        return super().eof_received()

    async def take(self, count: int) -> bytes:
        """Return the next `count` bytes.

        Raises:
            ConnectionResetError: when the stream ends first.
        """
        wanted: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._wanted = (count, wanted)
        self._hand_out()
        if not wanted.done():
            if self.closed.done() or self._has_ended:
                self._give_up()
            elif self.transport is not None:
                self.transport.resume_reading()
        return await wanted

    def join(self, other: Relay) -> None:
        if self.transport is not None and not self.transport.is_closing():
            with contextlib.suppress(RuntimeError):
                self.transport.resume_reading()
        head, self._head = self._head, bytearray()
        if head:
            super().data_received(bytes(head))
        super().join(other)

    def _hand_out(self) -> None:
        if self._wanted is None or len(self._head) < self._wanted[0]:
            return
        count, wanted = self._wanted
        self._wanted = None
        piece = bytes(self._head[:count])
        del self._head[:count]
        if not wanted.done():
            wanted.set_result(piece)

    def _give_up(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not wanted[1].done():
            wanted[1].set_exception(ConnectionResetError("the stream ended in its greeting"))


class _Caller(Greeter):
    """A connection from outside."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).pause_reading()
        self._gate.begin(self)
