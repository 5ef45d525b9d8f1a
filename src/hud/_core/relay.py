"""Splice two byte streams: what one end receives the other sends, half-close included.

Backpressure goes through: a slow receiver pauses the sender's socket, nothing is collected here.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast


class Relay(asyncio.Protocol):
    """One side of a splice. Both sides are closed once both directions have sent EOF.

    Resume reading, where it was paused, before `join`: what `join` passes on may pause it again.
    """

    def __init__(self) -> None:
        self.other: Relay | None = None
        self.transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._early = bytearray()
        self._eof_received = False

    def join(self, other: Relay) -> None:
        """Connect two sides and pass on whatever either received before the other was there."""
        self.other, other.other = other, self
        for side, peer in ((self, other), (other, self)):
            if side._early:
                peer.send(bytes(side._early))
                side._early.clear()
            if side._eof_received:
                peer.send_eof()
            if side.closed.done():
                peer.close()
        if self._eof_received and other._eof_received:
            self.close()
            other.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            self.other.send(data)

    def eof_received(self) -> bool:
        self._eof_received = True
        if self.other is not None:
            self.other.send_eof()
            if self.other._eof_received:
                self.other.close()
                self.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        if self.other is not None:
            self.other.close()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        other = self.other
        if other is not None and other.transport is not None and not other.transport.is_closing():
            other.transport.resume_reading()

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def send_eof(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            with contextlib.suppress(OSError):  # the other end may be gone already
                self.transport.write_eof()
        else:
            self.transport.close()

    def close(self) -> None:
        """Close after what was written has been sent; safe to call twice."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
