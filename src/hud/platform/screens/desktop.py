"""A desktop shown live: the environment's own VNC stream, with nothing going the other way.

The handshake with the environment is made here, so its password stays here; the viewer is let in by
the platform and asked for none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

from hud._core.errors import CapabilityFault
from hud.capabilities.rfb import reading
from hud.capabilities.rfb.errors import ServerError
from hud.platform.screens.view_only import UPDATE_REQUEST, Rude, ViewOnly
from hud.platform.screens.viewer import Viewer
from hud.protocol.capability import Capability

HANDSHAKE_S = 20.0
EVERY_S = 0.04
"""A viewer is sent no more pictures than one in so many seconds."""
_PIECE_BYTES = 64 * 1024
_VERSION = b"RFB 003.008\n"
_NO_SECURITY = 1


async def show_desktop(row: Capability, viewer: Viewer) -> None:
    """Show a desktop to a viewer until either is gone.

    Raises:
        CapabilityFault: when there is no desktop to be had.
        Rude, Left, Slow: what the viewer did.
    """
    if row.address is None:
        raise CapabilityFault(f"capability {row.name!r} has no address")
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            reader, writer = await asyncio.open_connection(*row.address, limit=_PIECE_BYTES)
    except (OSError, TimeoutError) as error:
        raise CapabilityFault(f"desktop {row.name!r} does not answer: {error}") from error
    try:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                hello = await _introduced(row, reader, writer)
                await _welcome(viewer, hello)
        except (OSError, EOFError, TimeoutError, ServerError) as error:
            reason = str(error) or "no answer"
            raise CapabilityFault(f"desktop {row.name!r} cannot be shown: {reason}") from error
        await _relay(viewer, reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class _Sender:
    """Sends for the handshake."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)


async def _introduced(
    row: Capability, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bytes:
    """Return what the desktop says of itself: its size, its pixels, its name."""
    password = row.params.get("password")
    given = password if isinstance(password, str) else None
    steps: Generator[int, bytes, bytes] = reading.introduce(_Sender(writer), given)
    need = next(steps)
    while True:
        data = await reader.readexactly(need)
        try:
            need = steps.send(data)
        except StopIteration as done:
            return done.value
        await writer.drain()


async def _welcome(viewer: Viewer, hello: bytes) -> None:
    """Do for the viewer what a desktop does that lets everybody in."""
    viewer.send(_VERSION)
    said = await viewer.exactly(len(_VERSION))
    if said != _VERSION:
        raise Rude(f"the version {said!r}")
    viewer.send(bytes([1, _NO_SECURITY]))
    if await viewer.exactly(1) != bytes([_NO_SECURITY]):
        raise Rude("a security type that was not offered")
    viewer.send(bytes(4))
    await viewer.exactly(1)
    viewer.send(hello)


async def _relay(
    viewer: Viewer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    ways = [
        asyncio.create_task(_outward(viewer, reader)),
        asyncio.create_task(_inward(viewer, writer)),
    ]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
    for way in done:
        way.result()


async def _outward(viewer: Viewer, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_PIECE_BYTES):
            viewer.send(piece)


async def _inward(viewer: Viewer, writer: asyncio.StreamWriter) -> None:
    now = asyncio.get_running_loop().time
    only, last = ViewOnly(), 0.0
    with contextlib.suppress(ConnectionError):
        while True:
            for message in only.feed(await viewer.heard()):
                if message[0] == UPDATE_REQUEST:
                    await asyncio.sleep(max(0.0, last + EVERY_S - now()))
                    last = now()
                writer.write(message)
            await writer.drain()
