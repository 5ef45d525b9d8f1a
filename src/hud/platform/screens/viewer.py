"""One viewer at a WebSocket: what is sent to it waits within bounds, or the viewer is let go.

Nothing here ever makes the environment wait: what comes from it is taken at once.
"""

from __future__ import annotations

import asyncio
from collections import deque

from starlette.websockets import WebSocket

from hud.platform.screens.view_only import Rude
from hud.platform.websockets import next_piece

SLOW_S = 10.0
"""A viewer that takes nothing for so long is let go."""
WAITING_BYTES = 32 * 1024 * 1024
"""So much may wait for a viewer: a large screen without any compression, twice."""
_SAID_BYTES = 64 * 1024


class Slow(Exception):
    """The viewer does not keep up."""


class Left(Exception):
    """The viewer is gone."""


class Viewer:
    """One accepted WebSocket. Somebody has to run `pump`."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._waiting: deque[bytes | str] = deque()
        self._waiting_bytes = 0
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._said = bytearray()

    def send(self, data: bytes | str) -> None:
        """Have something sent.

        Raises:
            Slow: when too much waits already.
        """
        if self._waiting_bytes + len(data) > WAITING_BYTES:
            raise Slow
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._idle.clear()
        self._woken.set()

    async def sent(self) -> None:
        """Return once everything is on its way."""
        await self._idle.wait()

    async def pump(self) -> None:
        """Send what waits, for ever.

        Raises:
            Slow: when the viewer takes nothing any more.
        """
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                data = self._waiting.popleft()
                try:
                    async with asyncio.timeout(SLOW_S):
                        if isinstance(data, str):
                            await self._websocket.send_text(data)
                        else:
                            await self._websocket.send_bytes(data)
                except TimeoutError:
                    raise Slow from None
                self._waiting_bytes -= len(data)
            self._idle.set()

    async def heard(self) -> bytes:
        """Return what the viewer said next.

        Raises:
            Left: when it says nothing any more.
            Rude: when it says too much.
        """
        if self._said:
            said = bytes(self._said)
            self._said.clear()
            return said
        piece = await next_piece(self._websocket)
        if piece is None:
            raise Left
        if len(piece) > _SAID_BYTES:
            raise Rude(f"a message of {len(piece)} bytes")
        return piece

    async def exactly(self, count: int) -> bytes:
        """Return the next bytes that the viewer says.

        Raises:
            Left: when it says nothing any more.
            Rude: when it says too much.
        """
        held = bytearray()
        while len(held) < count:
            held += await self.heard()
        self._said += held[count:]
        return bytes(held[:count])
