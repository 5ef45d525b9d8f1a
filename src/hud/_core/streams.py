"""Byte streams inside one process, with the interface of asyncio transports.

Servers and clients are written as `asyncio.Protocol`s; on a `MemoryTransport` pair they run
unchanged without a socket. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

HIGH_WATER = 1 << 20


class MemoryTransport(asyncio.Transport):
    """One end of an in-process duplex byte stream.

    `write` delivers on the loop's next turn; a peer that paused reading fills a queue and, above
    1 MiB, pauses the writing protocol, exactly as a socket transport does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol) -> None:
        super().__init__({"peername": "memory"})
        self._loop = loop
        self._protocol: Any = protocol
        self._peer: MemoryTransport | None = None
        self._inbox: deque[bytes] = deque()
        self._inbox_size = 0
        self._reading = True
        self._scheduled = False
        self._eof_in = False
        self._eof_out = False
        self._closing = False
        self._lost = False
        self._peer_paused = False

    def join(self, peer: MemoryTransport) -> None:
        self._peer = peer

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def write(self, data: Any) -> None:
        peer = self._peer
        if self._closing or self._eof_out or not data:
            return
        if peer is None or peer._closing:
            self._closing = True
            self._loop.call_soon(self._lose, ConnectionResetError("the other end is gone"))
            return
        peer._receive(bytes(data))
        if peer._inbox_size > HIGH_WATER and not peer._peer_paused:
            peer._peer_paused = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._eof_out or self._closing:
            return
        self._eof_out = True
        if self._peer is not None:
            self._peer._receive_eof()

    def get_write_buffer_size(self) -> int:
        return 0 if self._peer is None else self._peer._inbox_size

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._schedule()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        self.close()

    def _receive(self, data: bytes) -> None:
        self._inbox.append(data)
        self._inbox_size += len(data)
        self._schedule()

    def _receive_eof(self) -> None:
        self._eof_in = True
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and self._reading and not self._lost:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        while self._inbox and self._reading and not self._closing:
            data = self._inbox.popleft()
            self._inbox_size -= len(data)
            self._protocol.data_received(data)
        if self._peer_paused and self._inbox_size <= HIGH_WATER // 4:
            self._peer_paused = False
            if self._peer is not None and not self._peer._lost:
                self._peer._protocol.resume_writing()
        if self._eof_in and not self._inbox and self._reading and not self._closing:
            self._eof_in = False
            if not self._protocol.eof_received():
                self.close()

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._inbox.clear()
        self._inbox_size = 0
        peer, self._peer = self._peer, None
        if peer is not None:
            if not self._eof_out:
                peer._receive_eof()
            if self._peer_paused:
                peer._protocol.resume_writing()
            peer._peer = None
        self._protocol.connection_lost(error)


def connect_memory(first: asyncio.Protocol, second: asyncio.Protocol) -> None:
    """Join two protocols by a memory stream; both get `connection_made` before this returns."""
    loop = asyncio.get_running_loop()
    one, two = MemoryTransport(loop, first), MemoryTransport(loop, second)
    one.join(two)
    two.join(one)
    second.connection_made(two)
    first.connection_made(one)


class MemoryListeners:
    """In-process addresses: names under which a server accepts memory streams."""

    def __init__(self) -> None:
        self._factories: dict[str, Callable[[], asyncio.Protocol]] = {}

    def listen(self, name: str, factory: Callable[[], asyncio.Protocol]) -> None:
        self._factories[name] = factory

    def close(self, name: str) -> None:
        self._factories.pop(name, None)

    def connect(self, name: str, protocol: asyncio.Protocol) -> None:
        """Connect `protocol` to the server listening as `name`.

        Raises:
            ConnectionRefusedError: when nothing listens under that name.
        """
        factory = self._factories.get(name)
        if factory is None:
            raise ConnectionRefusedError(f"nothing listens at memory://{name}")
        connect_memory(protocol, factory())


LISTENERS = MemoryListeners()
