"""What speaking through a WebSocket takes: the next piece as bytes, and an end with a reason."""

from __future__ import annotations

import contextlib

from starlette.websockets import WebSocket, WebSocketDisconnect

_REASON_BYTES = 120  # a close frame holds 123


async def next_piece(websocket: WebSocket) -> bytes | None:
    """Return what came, text as UTF-8; None when nothing more will."""
    message = await websocket.receive()
    if message["type"] != "websocket.receive":
        return None
    data: bytes | None = message.get("bytes")
    return data if data is not None else str(message.get("text") or "").encode()


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close it with as much of the reason as fits; one that is closed already is left alone."""
    short = reason.encode()[:_REASON_BYTES].decode("utf-8", "ignore")
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await websocket.close(code, short)
