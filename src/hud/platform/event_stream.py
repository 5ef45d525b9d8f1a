"""Server-sent events over ASGI: a response that ends with its reader, its source, or the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hud._core import json

HEARTBEAT_S = 15.0
HEARTBEAT = b": still here\n\n"


def event(kind: str, data: Any, *, event_id: str | None = None) -> bytes:
    """Return one event; `data` is anything JSON can hold."""
    content = data if isinstance(data, bytes) else json.encode(data)
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {kind}\ndata: ".encode() + content + b"\n\n"


def raw(content: bytes) -> msgspec.Raw:
    """Return encoded JSON to put into an event's data; line breaks in it are no event's end."""
    if b"\n" in content or b"\r" in content:
        content = json.encode(json.decode(content))
    return msgspec.Raw(content)


class EventStream(Response):
    """Sends events as they come; they are closed when the client goes."""

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(self._feed(send))
            leaving = tasks.create_task(_until_gone(receive))
            leaving.add_done_callback(lambda _: feeding.cancel())
            feeding.add_done_callback(lambda _: leaving.cancel())

    async def _feed(self, send: Send) -> None:
        async with contextlib.aclosing(self._events) as events:
            async for content in events:
                await send({"type": "http.response.body", "body": content, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
