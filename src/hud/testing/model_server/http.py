"""The HTTP/1.1 under every model double: one `asyncio.Protocol` per connection, with keep-alive.

Written to be no bottleneck of what is tested against it. What is answered belongs to the servers
on top.
"""

from __future__ import annotations

import asyncio
import http
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Self, cast

_BODY_LIMIT = 64 << 20
_HEADER_LIMIT = 64 << 10
_SIZE_DIGITS = 12
_BACKLOG = 4096

Ending = Literal["keep", "close", "abort"]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request as it came in: `target` with its query, header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes to send, and what becomes of the connection after them."""

    data: bytes
    ends: Ending = "keep"


class BadHttp(Exception):
    """The bytes of a client are no request: answered with this status, then hung up."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def whole(
    status: int,
    body: bytes,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
    *,
    ends: Ending = "keep",
) -> Answer:
    """Return an answer whose size is known."""
    sized = {"Content-Length": str(len(body)), **(headers or {})}
    return Answer(_head(status, content_type, sized, ends) + body, ends)


def streamed(
    frames: Iterable[bytes], headers: Mapping[str, str] | None = None, *, is_cut: bool = False
) -> Answer:
    """Return server-sent events, one HTTP chunk each; a cut stream lacks its end."""
    chunked = {"Transfer-Encoding": "chunked", **(headers or {})}
    parts = [_head(200, "text/event-stream", chunked, "keep")]
    parts += [b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames if frame]
    if not is_cut:
        parts.append(b"0\r\n\r\n")
    return Answer(b"".join(parts), "close" if is_cut else "keep")


def _head(status: int, content_type: str, headers: Mapping[str, str], ends: Ending) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if ends != "keep":
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


class HttpServer(ABC):
    """Listen on a loopback port while the block is open.

    Attributes:
        port: Where it listens, once open; 0 before that picks a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    @abstractmethod
    def respond(self, request: HttpRequest) -> Answer | asyncio.Future[Answer]:
        """Return the answer to a request, or a task that makes it; never raises."""

    @abstractmethod
    def refuse(self, status: int, message: str) -> Answer:
        """Return the answer to what is no request."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, self._connections), "127.0.0.1", self.port, backlog=_BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.kill()
        if self._server is not None:
            await self._server.wait_closed()

    def kill(self) -> None:
        """Drop every connection and stop listening, as a crash would."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.drop()

    async def serve_forever(self) -> None:
        """Wait until the server is killed."""
        if self._server is not None:
            await self._server.wait_closed()


class _Connection(asyncio.Protocol):
    """One connection: requests are answered one after the other, in order."""

    def __init__(self, server: HttpServer, connections: set[_Connection]) -> None:
        self._server = server
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head: tuple[int, HttpRequest] | None = None
        self._waiting: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        if self._waiting is not None:
            self._waiting.cancel()

    def drop(self) -> None:
        """Abort the connection without a goodbye."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()
        if len(self._buffer) > _BODY_LIMIT + _HEADER_LIMIT and self._transport is not None:
            self._transport.pause_reading()

    def _advance(self) -> None:
        """Answer every complete request in the buffer, until one has to wait."""
        while self._waiting is None and self._transport is not None:
            if self._transport.is_closing():
                return
            try:
                request = self._next_request()
            except BadHttp as error:
                self._send(self._server.refuse(error.status, error.message))
                return
            if request is None:
                return
            answer = self._server.respond(request)
            if isinstance(answer, Answer):
                self._send(answer)
            else:
                self._waiting = answer
                answer.add_done_callback(self._answered)

    def _answered(self, waiting: asyncio.Future[Answer]) -> None:
        self._waiting = None
        if waiting.cancelled() or self._transport is None:
            return
        if waiting.exception() is not None:
            self.drop()
        self._transport.resume_reading()
        self._send(waiting.result())
        self._advance()

    def _send(self, answer: Answer) -> None:
        if self._transport is None:
            return
        if answer.data:
            self._transport.write(answer.data)
        if answer.ends == "close":
            self._transport.close()
        elif answer.ends == "abort":
            self._transport.abort()

    def _next_request(self) -> HttpRequest | None:
        """Take one whole request from the buffer, or None while there is none.

        Raises:
            BadHttp: when what came is no request.
        """
        if self._head is None:
            at = self._buffer.find(b"\r\n\r\n")
            if at > _HEADER_LIMIT or (at < 0 and len(self._buffer) > _HEADER_LIMIT):
                raise BadHttp(431, "the request's header is too large")
            if at < 0:
                return None
            self._head = at + 4, _read_head(bytes(self._buffer[:at]))
        start, head = self._head
        if "transfer-encoding" in head.headers:
            taken = _unchunked(self._buffer, start)
        else:
            end = start + _size(head.headers.get("content-length", "0"))
            taken = (bytes(self._buffer[start:end]), end) if len(self._buffer) >= end else None
        if taken is None:
            return None
        body, end = taken
        del self._buffer[:end]
        self._head = None
        return HttpRequest(head.method, head.target, head.headers, body)


def _read_head(head: bytes) -> HttpRequest:
    first, *lines = head.decode("latin-1").lstrip("\r\n").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, version = rest.partition(" ")
    if not method.isalpha() or not target.startswith("/") or not version.startswith("HTTP/1."):
        raise BadHttp(400, "the request line is malformed")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadHttp(400, "a header line has no colon")
        headers[name.strip().lower()] = value.strip()
    return HttpRequest(method, target, headers, b"")


def _size(text: str, base: int = 10) -> int:
    try:
        size = int(text, base) if text.isascii() and text.isalnum() else -1
    except ValueError:
        size = -1
    if size < 0 or len(text) > _SIZE_DIGITS:
        raise BadHttp(400, "the size of the body is malformed")
    if size > _BODY_LIMIT:
        raise BadHttp(413, "the body is too large")
    return size


def _unchunked(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    """Return a chunked body and where it ends, or None while it is not whole (RFC 9112, 7.1)."""
    body = bytearray()
    while True:
        line_end = buffer.find(b"\r\n", start)
        if line_end < 0:
            if len(buffer) - start > _HEADER_LIMIT:
                raise BadHttp(400, "a chunk's size is malformed")
            return None
        line = bytes(buffer[start:line_end]).decode("latin-1").partition(";")[0].strip()
        size = _size(line, 16)
        start = line_end + 2
        if len(buffer) < start + size + 2:
            return None
        if not buffer.startswith(b"\r\n", start + size):
            raise BadHttp(400, "a chunk does not end where its size says")
        body += buffer[start : start + size]
        start += size + 2
        if size == 0:
            return bytes(body), start
        if len(body) > _BODY_LIMIT:
            raise BadHttp(413, "the body is too large")
