"""A tunnel: one WebSocket is one raw connection to the control port of a lent environment.

Bytes go through as they come, with the receiver's pace as the sender's. A WebSocket cannot be half
closed, so an end on one side ends the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

from starlette.websockets import WebSocket, WebSocketDisconnect

from hud._core.errors import RuntimeFault
from hud._core.unix_sockets import socket_itself
from hud.clients.dial import DEFAULT_PORT
from hud.platform.leases.lease import Lease
from hud.platform.websockets import close, next_piece

NORMAL, GOING_AWAY, OVER = 1000, 1001, 4410
"""Close codes: the environment hung up; it could not be reached just now; the lease is over."""

_PIECE_BYTES = 64 * 1024
_BUFFER_BYTES = 1024 * 1024


async def splice(websocket: WebSocket, lease: Lease) -> None:
    """Connect an accepted WebSocket to a lease's environment until either end is gone."""
    connecting = asyncio.create_task(_connect(lease))
    leaving = asyncio.create_task(next_piece(websocket))
    try:
        # While the environment starts, whoever waits for it may give up.
        await asyncio.wait([connecting, leaving], return_when=asyncio.FIRST_COMPLETED)
        if leaving.done() and leaving.result() is None:
            return
        try:
            reader, writer = await connecting
        except RuntimeFault as fault:
            await close(websocket, OVER, fault.message)
            return
        except OSError as error:
            reason = lease.vanished() or error.strerror or type(error).__qualname__
            await close(websocket, GOING_AWAY, f"the environment does not answer: {reason}")
            return
        try:
            await _relay(websocket, lease, leaving, reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    finally:
        for task in (connecting, leaving):
            task.cancel()
        await asyncio.wait([connecting, leaving])
        if not connecting.cancelled() and connecting.exception() is None:
            connecting.result()[1].close()


async def _connect(lease: Lease) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = await lease.place()
    parts = urlsplit(place.url)
    if parts.scheme == "unix":
        # The environment can write where its socket is.
        with socket_itself(parts.path) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=_BUFFER_BYTES)
    else:
        port = parts.port or DEFAULT_PORT
        reader, writer = await asyncio.open_connection(parts.hostname, port, limit=_BUFFER_BYTES)
    writer.transport.set_write_buffer_limits(high=_BUFFER_BYTES)
    return reader, writer


async def _relay(
    websocket: WebSocket,
    lease: Lease,
    first: asyncio.Task[bytes | None],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    inward = asyncio.create_task(_inward(websocket, first, writer))
    outward = asyncio.create_task(_outward(websocket, reader))
    try:
        await asyncio.wait([inward, outward, lease.over], return_when=asyncio.FIRST_COMPLETED)
        if inward.done():
            return
        if lease.over.done():
            await close(websocket, OVER, lease.over.result())
        else:
            await close(websocket, NORMAL, lease.vanished() or "")
    finally:
        for task in (inward, outward):
            task.cancel()
        await asyncio.gather(inward, outward, return_exceptions=True)


async def _inward(
    websocket: WebSocket, first: asyncio.Task[bytes | None], writer: asyncio.StreamWriter
) -> None:
    piece = await first
    while piece is not None:
        writer.write(piece)
        await writer.drain()
        piece = await next_piece(websocket)


async def _outward(websocket: WebSocket, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(WebSocketDisconnect, ConnectionError):
        while piece := await reader.read(_PIECE_BYTES):
            await websocket.send_bytes(piece)
