"""One WebSocket connection as an `asyncio.Protocol`, either side: messages in, messages out.

A step of a robot is a round trip, so nothing stands between the socket and the code that handles a
message: no task, no queue. Built on the sans-I/O half of the websockets library, without
compression. What the messages mean is not known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from hud._core.errors import InputError
from hud.protocol.openpi import MAX_FRAME_BYTES

try:
    from websockets.client import ClientProtocol
    from websockets.exceptions import InvalidState
    from websockets.frames import DATA_OPCODES, Frame, Opcode
    from websockets.http11 import Request
    from websockets.protocol import State
    from websockets.server import ServerProtocol
    from websockets.uri import parse_uri
except ModuleNotFoundError as error:
    raise InputError(
        "the robot capability needs websockets", hint="pip install 'hud-python[robot]'"
    ) from error

if TYPE_CHECKING:
    from websockets.protocol import Protocol

CLOSE_GRACE_S = 2.0
PING_S = 20.0
SILENT_PINGS = 6
"""Pings without any answer after which the other side counts as dead (two minutes): a simulator
that loads a scene may well be silent for a while."""

OnMessage = Callable[["bytes | str"], None]


class Line(asyncio.Protocol):
    """One end of a WebSocket. Whoever made it closes it; the transport's end closes it too.

    Attributes:
        opened: Done once the handshake is; fails with what the other side is instead.
        closed: Done once the connection has ended, however it did.
    """

    def __init__(self, wire: Protocol, on_message: OnMessage) -> None:
        loop = asyncio.get_running_loop()
        self.on_message = on_message
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._wire = wire
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._is_text = False
        self._size = 0
        self._writable: asyncio.Future[None] | None = None
        self._ping: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._silent = 0

    @classmethod
    def client(cls, url: str, on_message: OnMessage) -> Line:
        """Return the dialling side for `url`; it speaks first, once connected."""
        wire = ClientProtocol(parse_uri(url), max_size=MAX_FRAME_BYTES)
        return cls(wire, on_message)

    @classmethod
    def server(cls, on_message: OnMessage) -> Line:
        """Return the accepting side; a web page (anything with an Origin) is refused."""
        return cls(ServerProtocol(origins=[None], max_size=MAX_FRAME_BYTES), on_message)

    @property
    def is_open(self) -> bool:
        return self._wire.state is State.OPEN and not self.closed.done()

    @property
    def is_congested(self) -> bool:
        """Whether the other side does not read what was sent."""
        return self._writable is not None

    def send(self, message: bytes | str) -> None:
        """Send one message; after the end of the connection it goes nowhere."""
        if self._wire.state is not State.OPEN:
            return
        if isinstance(message, str):
            self._wire.send_text(message.encode())
        else:
            self._wire.send_binary(message)
        self._flush()

    async def drained(self) -> None:
        """Return once the other side keeps up, or the connection has ended."""
        if self._writable is not None:
            await asyncio.wait([self._writable, self.closed], return_when=asyncio.FIRST_COMPLETED)

    def keep_alive(self) -> None:
        """Ping now and then, and end the connection when nothing at all comes back."""
        self._beat()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye and close; the transport is dropped when no answer comes."""
        if self._transport is None or self.closed.done() or self._linger is not None:
            return
        self._linger = self._loop.call_later(CLOSE_GRACE_S, self.abort)
        if self._wire.state is State.OPEN:
            self._wire.send_close(code, reason)
            self._flush()
        elif self._wire.state is State.CONNECTING:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if isinstance(self._wire, ClientProtocol):
            self._wire.send_request(self._wire.connect())
            self._flush()

    def data_received(self, data: bytes) -> None:
        self._silent = 0
        self._wire.receive_data(data)
        self._flush()
        for event in self._wire.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            elif isinstance(event, Request):
                self._accept(event)
            else:
                self._open()
        error = self._wire.handshake_exc
        if error is not None and not self.opened.done():
            self._fail(ConnectionError(str(error)))

    def eof_received(self) -> bool:
        self._wire.receive_eof()
        self._flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        for handle in (self._ping, self._linger):
            if handle is not None:
                handle.cancel()
        if self._wire.state is not State.CLOSED:
            self._wire.receive_eof()
        self._fail(ConnectionResetError("the connection ended before it opened"))
        self.resume_writing()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _accept(self, request: Request) -> None:
        assert isinstance(self._wire, ServerProtocol)
        response = self._wire.accept(request)
        self._wire.send_response(response)
        self._flush()
        if self._wire.state is State.OPEN:
            self._open()

    def _open(self) -> None:
        if self._wire.state is State.OPEN and not self.opened.done():
            self.opened.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode not in DATA_OPCODES:
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            self._parts, self._size = [], 0
        self._parts.append(bytes(frame.data))
        self._size += len(frame.data)
        if self._size > MAX_FRAME_BYTES:
            self._wire.fail(1009, "message too big")
            self._flush()
            return
        if not frame.fin:
            return
        message = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self.on_message(message.decode("utf-8", "replace") if self._is_text else message)

    def _flush(self) -> None:
        transport = self._transport
        if transport is None:
            return
        pieces = self._wire.data_to_send()
        end = b"" in pieces
        if not transport.is_closing():
            data = b"".join(pieces) if len(pieces) > 1 else (pieces[0] if pieces else b"")
            if data:
                transport.write(data)
            if end:
                transport.close()

    def _beat(self) -> None:
        if self.closed.done():
            return
        if self._silent == SILENT_PINGS:
            self.abort()
            return
        self._silent += 1
        try:
            self._wire.send_ping(b"alive")
        except InvalidState:
            return
        self._flush()
        self._ping = self._loop.call_later(PING_S, self._beat)
