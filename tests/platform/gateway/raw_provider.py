"""A provider that answers with whatever bytes a test gives it, and says what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Self

Handler = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Request:
    """One request: its first line, its headers in lower case, its body."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.line = first
        pairs = [line.partition(":") for line in lines if line]
        self.headers = {name.strip().lower(): text.strip() for name, _, text in pairs}
        self.body = body


class RawProvider:
    """Serves while its block is open.

    Attributes:
        requests: Every request, oldest first.
        asked: Set when the first one is there.
        gone: Set when a connection was closed by the other side while it was being answered.
    """

    def __init__(self, handler: Handler) -> None:
        self.requests: list[Request] = []
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Its address, without a version."""
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length.group(1)) if length else 0)
                request = Request(head[:-4], body)
                self.requests.append(request)
                self.asked.set()
                answering = asyncio.ensure_future(self._handler(request, writer))
                watching = asyncio.ensure_future(reader.read(1))
                try:
                    await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
                    if watching.done() and not answering.done():
                        self.gone.set()
                        return
                    await answering
                finally:
                    for each in (answering, watching):
                        each.cancel()
                    await asyncio.gather(answering, watching, return_exceptions=True)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._tasks.discard(task)


def whole(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Return a response with a body of known size."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    if not any(line.lower().startswith("content-type") for line in headers):
        lines.append("content-type: application/json")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return a piece of a chunked body; of nothing it is the end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def says(body: bytes, status: str = "200 OK", *headers: str) -> Handler:
    """Return what answers every request alike."""

    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(body, status, *headers))
        await writer.drain()

    return handler
