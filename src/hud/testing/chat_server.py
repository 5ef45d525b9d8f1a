"""A local server that speaks Chat Completions, for tests and demonstrations without a provider.

It answers what a rule says, fails how it is told to, and remembers what it was asked. Small
enough to be no bottleneck: one `asyncio.Protocol` per connection, HTTP/1.1 with keep-alive.

    async with ChatServer(lambda request: "42") as server:
        agent = OpenAIChatAgent(OpenAIChatConfig(base_url=server.base_url))

In a process of its own: `python -m hud.testing.chat_server --port 0` prints
`CHAT_SERVER_PORT=<n>`. What can be answered is `chat_reply`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http
import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

from hud._core import json
from hud.testing.chat_reply import (
    ChatError,
    ChatReply,
    HangUp,
    RawReply,
    Reply,
    chunks,
    completion,
    error_object,
    event_stream,
    letter_count,
)

__all__ = [
    "ChatError",
    "ChatReply",
    "ChatRequest",
    "ChatServer",
    "HangUp",
    "RawReply",
    "Rule",
    "letter_count",
]

Rule = Callable[[dict[str, Any]], Reply | Awaitable[Reply]]

RULES: dict[str, Rule] = {"letter_count": letter_count}
_BODY_LIMIT = 64 << 20
_HEADER_LIMIT = 64 << 10
_BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request as it came in; header names are lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class ChatServer:
    """Serve Chat Completions on a loopback port while its block is open.

    Args:
        rule: Makes the answer to a request's JSON, at once or as an awaitable. One that raises
            answers status 500.
        latency_s: How long every answer waits.
        api_key: The one key accepted; None accepts anything.
        dies_after: Answer so many requests, then drop every connection and stop listening.
        port: 0 picks a free one.

    Attributes:
        requests: Every chat request received, oldest first.
        answered: How many were answered.
        port: Where it listens, once open.
    """

    def __init__(
        self,
        rule: Rule = letter_count,
        *,
        latency_s: float = 0.0,
        api_key: str | None = None,
        dies_after: int | None = None,
        keep_requests: bool = True,
        port: int = 0,
    ) -> None:
        self.rule: Rule = rule
        self.latency_s = latency_s
        self.api_key = api_key
        self.dies_after = dies_after
        self.keep_requests = keep_requests
        self.port = port
        self.requests: list[ChatRequest] = []
        self.answered = 0
        self.received = 0
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    @property
    def base_url(self) -> str:
        """What a client's `base_url` has to be."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, backlog=_BACKLOG
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

    def opened(self, connection: _Connection) -> None:
        self._connections.add(connection)

    def lost(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    @property
    def is_dead(self) -> bool:
        return self.dies_after is not None and self.answered >= self.dies_after

    def decide(self, request: ChatRequest) -> Reply | Awaitable[Reply]:
        """Take a request in and ask the rule."""
        self.received += 1
        if self.keep_requests:
            self.requests.append(request)
        if self.api_key is not None and not self._authorized(request):
            return ChatError(401, "Incorrect API key provided", "invalid_api_key")
        try:
            return self.rule(request.body)
        except Exception as error:
            return ChatError(500, f"the rule raised {type(error).__name__}: {error}")

    def _authorized(self, request: ChatRequest) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.api_key}"


class _Connection(asyncio.Protocol):
    """One connection: requests are answered one after the other, in order."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.lost(self)
        if self._task is not None:
            self._task.cancel()

    def drop(self) -> None:
        """Abort the connection without a goodbye."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        """Answer every complete request in the buffer, until one has to wait."""
        while self._task is None and self._transport is not None:
            head_end = self._buffer.find(b"\r\n\r\n")
            if head_end < 0:
                if len(self._buffer) > _HEADER_LIMIT:
                    self.drop()
                return
            method, path, headers = _read_head(bytes(self._buffer[:head_end]))
            size = headers.get("content-length", "0")
            if not size.isdigit() or int(size) > _BODY_LIMIT or "transfer-encoding" in headers:
                self._send_json(411, error_object(ChatError(411, "a Content-Length is needed")))
                self.drop()
                return
            end = head_end + 4 + int(size)
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[head_end + 4 : end])
            del self._buffer[:end]
            self._route(method, path, headers, body)

    def _route(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        route = path.partition("?")[0].removeprefix("/v1")
        if method == "GET" and route == "/models":
            listed = [{"id": "test-model", "object": "model", "created": 0, "owned_by": "test"}]
            self._send_json(200, {"object": "list", "data": listed})
            return
        if method != "POST" or route != "/chat/completions":
            missing = ChatError(404, f"no such endpoint: {method} {path}")
            self._send_json(404, error_object(missing))
            return
        try:
            request: Any = json.decode(body)
        except ValueError as error:
            self._send_json(400, error_object(ChatError(400, f"the body is not JSON: {error}")))
            return
        if not isinstance(request, dict) or not isinstance(
            cast("dict[str, Any]", request).get("messages"), list
        ):
            self._send_json(400, error_object(ChatError(400, "'messages' must be a list")))
            return
        record = ChatRequest(path, headers, cast("dict[str, Any]", request))
        decided = self._server.decide(record)
        waits = self._server.latency_s or getattr(decided, "latency_s", 0.0)
        if waits or inspect.isawaitable(decided):
            self._task = asyncio.ensure_future(self._answer_later(decided, record.body))
        else:
            self._answer(decided, record.body)

    async def _answer_later(
        self, decided: Reply | Awaitable[Reply], request: dict[str, Any]
    ) -> None:
        try:
            reply = await decided if inspect.isawaitable(decided) else decided
        except Exception as error:
            reply = ChatError(500, f"the rule raised {type(error).__name__}: {error}")
        await asyncio.sleep(self._server.latency_s + getattr(reply, "latency_s", 0.0))
        self._task = None
        self._answer(reply, request)
        self._advance()

    def _answer(self, reply: Reply, request: dict[str, Any]) -> None:
        server = self._server
        if server.is_dead:
            server.kill()
            return
        server.answered += 1
        if isinstance(reply, str):
            reply = ChatReply(reply)
        match reply:
            case ChatReply():
                if request.get("stream"):
                    body = event_stream(chunks(reply, request, server.answered))
                    self._send(200, body, "text/event-stream")
                else:
                    self._send_json(200, completion(reply, request, server.answered))
            case ChatError():
                self._send_json(reply.status, error_object(reply), reply.headers)
            case RawReply():
                self._send(reply.status, reply.body, reply.content_type)
            case HangUp():
                self._hang_up(reply, request)

    def _hang_up(self, reply: HangUp, request: dict[str, Any]) -> None:
        if self._transport is None:
            return
        if reply.after_bytes:
            whole = json.encode(completion(ChatReply("cut"), request, self._server.answered))
            head = _head(200, len(whole), "application/json", {})
            self._transport.write((head + whole)[: reply.after_bytes])
            self._transport.close()
        else:
            self._transport.abort()

    def _send_json(
        self, status: int, value: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        self._send(status, json.encode(value), "application/json", headers)

    def _send(
        self, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None
    ) -> None:
        if self._transport is not None:
            self._transport.write(_head(status, len(body), content_type, headers or {}) + body)


def _read_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return method, rest.partition(" ")[0], headers


def _head(status: int, size: int, content_type: str, headers: dict[str, str]) -> bytes:
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {size}\r\n{extra}\r\n"
    ).encode("latin-1")


async def _run(options: argparse.Namespace) -> None:
    server = ChatServer(
        RULES[options.rule],
        latency_s=options.latency,
        dies_after=options.dies_after,
        keep_requests=False,
        port=options.port,
    )
    async with server:
        sys.stdout.write(f"CHAT_SERVER_PORT={server.port}\n")
        sys.stdout.flush()
        await server.serve_forever()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m hud.testing.chat_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--rule", choices=sorted(RULES), default="letter_count")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--dies-after", type=int, help="die after so many answers")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(parser.parse_args(argv)))


if __name__ == "__main__":
    main()
