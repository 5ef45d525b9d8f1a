"""One connection to a screen: bytes from the socket to `reading`, and waiting for what came.

There is no task to own: the event loop calls it with what arrives. What the actions mean is
`client`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, cast

from hud._core.errors import CapabilityFault
from hud.capabilities.rfb import reading, wire
from hud.capabilities.rfb.clipboard import Clipboard
from hud.capabilities.rfb.errors import ServerError
from hud.capabilities.rfb.frame import Frame

_PROBES = 64
_FAREWELL_S = 1.0
_LINGER_S = 0.06
_MOST_CHANGES = 4
_PIXELS_AT_ONCE = 4_000_000
_Rectangle = tuple[int, int, int, int]
Dial = Callable[[], Awaitable[socket.socket]]
"""What returns a connected, non-blocking socket, the caller's to close."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How to connect, and for how long to wait."""

    connect_s: float
    answer_s: float
    dial: Dial | None = None


class Connection(asyncio.Protocol):
    """A connected, authenticated screen. `close` it.

    Attributes:
        frame: Its pixels as of the last `refresh`.
        clipboard: Its clipboard.
        hello: What the server said of itself.
        updates: How many messages about pixels came.
        bells: How often it rang.
    """

    def __init__(self, label: str, password: str | None, answer_s: float) -> None:
        self.label = label
        self.clipboard = Clipboard()
        self.updates = 0
        self.bells = 0
        self._answer_s = answer_s
        self._buffer = bytearray()
        self._reading: Generator[int, bytes, Any] = self._read(password)
        self._need = next(self._reading)
        self._transport: asyncio.Transport | None = None
        self._lost: str | None = None
        self._ended = asyncio.Event()
        self._waiting: set[asyncio.Future[None]] = set()
        self._collected: list[list[_Rectangle]] | None = None
        self._is_paused = False
        self._says_all = False
        self._is_ready = False
        self._is_settled = True
        self._probe = 0
        self._refreshing = asyncio.Lock()

    @classmethod
    async def open(
        cls, label: str, address: tuple[str, int], password: str | None, terms: Terms
    ) -> Connection:
        """Connect, authenticate and fetch the whole screen.

        Raises:
            CapabilityFault: when that is not to be had in time.
        """
        self = cls(label, password, terms.answer_s)
        try:
            async with asyncio.timeout(terms.connect_s):
                await self._connect(address, terms.dial)
                await self._until(lambda: self._is_ready, terms.connect_s)
                await self.refresh()
                if self._says_all:
                    await self._prove(incremental=False)  # the clipboard is agreed on by then
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                reason = f"{label}: no screen within {terms.connect_s:g} s"
                raise CapabilityFault(reason) from error
            if isinstance(error, OSError):
                raise CapabilityFault(f"{label}: {error}") from error
            raise
        return self

    @property
    def is_lost(self) -> bool:
        """Whether it is closed, by either side."""
        return self._lost is not None

    async def close(self) -> None:
        """Close the socket; what was sent has then reached the server, if it still answers.

        Closing twice is no error.
        """
        try:
            if self._is_ready and not self.is_lost and not self._refreshing.locked():
                with contextlib.suppress(CapabilityFault, TimeoutError):
                    async with asyncio.timeout(_FAREWELL_S):
                        await self._prove(incremental=False)
        finally:
            self._lose("the connection was closed here")
            if self._transport is not None:
                self._transport.abort()
        if self._transport is not None:
            await self._ended.wait()

    def send(self, data: bytes) -> None:
        """Send a message.

        Raises:
            CapabilityFault: when the connection is gone.
        """
        self._check()
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until everything sent has left this process.

        Raises:
            CapabilityFault: when the server takes nothing any more.
        """
        self._check()
        if self._is_paused:
            await self._until(lambda: not self._is_paused)

    async def refresh(self) -> None:
        """Bring `frame` up to date with what the server showed when this was called, or later.

        A server that answers fences (TigerVNC's family) is asked for what has changed, together
        with one pixel that it must send in any case: the answer proves that there is no more.
        Other servers look at their screen now and then, x11vnc even less often when asked for all
        of it. They are asked for all of it and then given some time to report a change.

        Raises:
            CapabilityFault: when the server does not answer.
        """
        self._check()
        async with self._refreshing:
            if not self._is_settled:
                # An answer to a call that was cancelled may still be on its way.
                await self._prove(incremental=False)
            self._is_settled = False
            if self._says_all and self.frame.is_complete:
                await self._prove(incremental=True)
            else:
                self.frame.expect()
            while not self.frame.is_complete:
                await self._fetch_all(self.frame)
                if not self._says_all:
                    await self._linger(_LINGER_S)
            self._is_settled = True

    async def wait_for_change(self, version: int, timeout_s: float) -> bool:
        """Wait until the frame is newer than `version`; False when the time is up first.

        Raises:
            CapabilityFault: when the connection is lost.
        """
        self._check()
        try:
            async with asyncio.timeout(timeout_s):
                while self.frame.version == version:
                    count, frame = self.updates, self.frame
                    self.send(wire.update_request(True, 0, 0, frame.width, frame.height))
                    await self._wait(lambda count=count: self.updates != count)
        except TimeoutError:
            return False
        return True

    async def until(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something that came makes `predicate` true; False when the time is up.

        Raises:
            CapabilityFault: when the connection is lost.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait(predicate)
        except TimeoutError:
            return False
        return True

    # What the reader calls.

    def updated(self, rectangles: list[_Rectangle]) -> None:
        self.updates += 1
        if self._collected is not None:
            self._collected.append(rectangles)

    def fenced(self) -> None:
        if not self._says_all:
            self._says_all = True
            # Only here: x11vnc agrees to it as well, and then loses every text.
            self.send(wire.set_encodings((*wire.ENCODINGS, wire.EXTENDED_CLIPBOARD)))

    def rang(self) -> None:
        self.bells += 1

    def copied(self) -> None:
        """The clipboard keeps what came; who waits for it is woken with every message."""

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        if self._lost is not None:
            return
        self._buffer += data
        taken = 0
        try:
            while len(self._buffer) - taken >= self._need:
                piece = bytes(memoryview(self._buffer)[taken : taken + self._need])
                taken += self._need
                self._need = self._reading.send(piece)
        except (ServerError, CapabilityFault) as error:
            self._lose(str(error))
            if self._transport is not None:
                self._transport.abort()
        except Exception as error:
            self._lose(f"what it sent cannot be used: {type(error).__qualname__}: {error}")
            if self._transport is not None:
                self._transport.abort()
        del self._buffer[:taken]
        self._wake()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(f"the connection broke: {exc}" if exc else "the server closed the connection")
        self._buffer.clear()
        self._ended.set()

    def _read(self, password: str | None) -> Generator[int, bytes, Any]:
        self.hello = yield from reading.handshake(self, password)
        self.frame = Frame(self.hello.width, self.hello.height)
        self._is_ready = True
        yield from reading.messages(self)

    async def _connect(self, address: tuple[str, int], dial: Dial | None) -> None:
        loop = asyncio.get_running_loop()
        if dial is None:
            await loop.create_connection(lambda: self, *address)
            return
        sock = await dial()
        try:
            await loop.create_connection(lambda: self, sock=sock)
        except BaseException:
            sock.close()
            raise

    async def _fetch_all(self, frame: Frame) -> None:
        """Ask for every pixel, and wait until they are there or the screen has another size."""
        size = (frame.width, frame.height)
        frame.expect()
        # A server closes the connection when an update outgrows its buffer (TigerVNC: 32 MiB).
        rows = max(1, _PIXELS_AT_ONCE // size[0])
        for top in range(0, size[1], rows):
            if (frame.width, frame.height) != size:
                return
            count = self.updates
            self.send(wire.update_request(False, 0, top, size[0], min(rows, size[1] - top)))
            await self._until(lambda count=count: self.updates != count)
        await self._until(lambda: frame.is_complete or (frame.width, frame.height) != size)

    async def _linger(self, quiet_s: float) -> None:
        """Take changes until none has come for `quiet_s`, or too long."""
        for _ in range(_MOST_CHANGES):
            version = self.frame.version
            if not await self.wait_for_change(version, quiet_s):
                return

    async def _prove(self, incremental: bool) -> None:
        """Make a round trip that ends with an answer to this very request."""
        for _ in range(2):
            self._probe = (self._probe + 1) % _PROBES
            frame = self.frame
            place = (max(0, frame.width - 1 - self._probe), frame.height - 1)
            asked = wire.update_request(False, *place, 1, 1)
            if incremental:
                asked = wire.update_request(True, 0, 0, frame.width, frame.height) + asked
            self.send(asked)
            while True:
                answer = await self._next_update()
                if any(_covers(rectangle, place) for rectangle in answer):
                    break
                if place[0] >= self.frame.width or place[1] >= self.frame.height:
                    return  # the screen became smaller, and is fetched as a whole
            if all(rectangle[2:] == (1, 1) for rectangle in answer):
                return
            # The pixel came as a part of a change. That change may be older than another one
            # which the server is still holding back; nothing is held back a second time.

    async def _next_update(self) -> list[_Rectangle]:
        collected: list[list[_Rectangle]] = []
        self._collected = collected
        try:
            await self._until(lambda: bool(collected))
        finally:
            self._collected = None
        return [rectangle for update in collected for rectangle in update]

    async def _until(self, predicate: Callable[[], bool], timeout_s: float | None = None) -> None:
        limit_s = self._answer_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await self._wait(predicate)
        except TimeoutError as error:
            raise CapabilityFault(f"{self.label}: no answer within {limit_s:g} s") from error

    async def _wait(self, predicate: Callable[[], bool]) -> None:
        while True:
            self._check()
            if predicate():
                return
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(woken)
            try:
                await woken
            finally:
                self._waiting.discard(woken)

    def _check(self) -> None:
        if self._lost is not None:
            raise CapabilityFault(f"{self.label}: {self._lost}")

    def _lose(self, reason: str) -> None:
        if self._lost is None:
            self._lost = reason
        self._wake()

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


def _covers(rectangle: _Rectangle, place: tuple[int, int]) -> bool:
    x, y, width, height = rectangle
    return x <= place[0] < x + width and y <= place[1] < y + height
