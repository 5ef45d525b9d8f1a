"""Message streams to an MCP server over streamable HTTP, SSE or WebSocket, bounded and honest.

Streamable HTTP is the SDK's own transport over a guarded HTTP client; SSE and WebSocket are
written here, because a failed write must end the connection rather than leave a caller waiting.
What travels on the streams is `mcp_session`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import anyio
import httpx2
import websockets
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage, jsonrpc_message_adapter

from hud._core.errors import InputError, bounded
from hud.protocol.capability import Capability

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
WRITE_TIMEOUT_S = 30.0
_ERROR_BODY_BYTES = 64 * 1024

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]
Streams = tuple[Any, Any]
"""What the SDK calls a transport's streams: one to read from, one to write to."""


class Refused(ConnectionError):
    """The server answered, but not with what an MCP server answers."""


class TooLarge(httpx2.StreamError):
    """A reply exceeds `MAX_MESSAGE_BYTES`."""


@dataclass
class Link:
    """What became of one connection.

    Attributes:
        failure: Why it broke, as far as this side saw.
    """

    failure: Exception | None = None


@dataclass
class Reply:
    """What the transport noticed about the reply to one request."""

    is_too_large: bool = False


expected: ContextVar[Reply | None] = ContextVar("hud_mcp_reply", default=None)
"""The reply that the present request waits for; requests are sent in their caller's context."""


@contextlib.asynccontextmanager
async def open_streams(row: Capability, link: Link) -> AsyncGenerator[Streams]:
    """Open the streams of a checked row's transport; leaving the block closes them."""
    transport = _transport(row)
    headers = _headers(row)
    if transport == "websocket":
        async with _websocket(row.url, headers, link) as streams:
            yield streams
        return
    timeout = httpx2.Timeout(WRITE_TIMEOUT_S, read=None)
    # One agent may have many calls in flight; each holds a connection until it is answered.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=8)
    guarded = _Guarded(httpx2.AsyncHTTPTransport(trust_env=False, limits=limits), link)
    async with httpx2.AsyncClient(
        transport=guarded, headers=headers, timeout=timeout, trust_env=False
    ) as client:
        opened = (
            _sse(row.url, client)
            if transport == "sse"
            # Twice as much, so that the limit on the whole reply is met first and told apart.
            else streamable_http_client(
                row.url, http_client=client, max_sse_event_size=2 * MAX_MESSAGE_BYTES
            )
        )
        async with opened as streams:
            yield streams


def check_row(row: Capability) -> None:
    """Check what can be checked of a row without connecting.

    Raises:
        InputError: when its url, transport or token cannot be used.
    """
    _transport(row)
    _headers(row)


def _transport(row: Capability) -> str:
    """Return the row's transport, inferred from its url's scheme where it names none."""
    scheme = urlsplit(row.url).scheme
    by_scheme = {"ws": "websocket", "wss": "websocket", "http": None, "https": None}
    if scheme not in by_scheme:
        raise InputError(
            f"capability {row.name!r}: mcp cannot be reached over {bounded(row.url)!r}",
            hint="its url begins with http://, https://, ws:// or wss://",
        )
    asked = row.params.get("transport")
    transport = asked or by_scheme[scheme] or "streamable-http"
    fits = {"websocket"} if by_scheme[scheme] else {"streamable-http", "sse"}
    if transport not in fits:
        raise InputError(
            f"capability {row.name!r}: transport {bounded(asked)!r} does not go with {scheme}://",
            hint=f"with {scheme}:// it is {' or '.join(sorted(fits))}",
        )
    return cast("str", transport)


def _headers(row: Capability) -> dict[str, str]:
    # A compressed reply would escape the limit on its size, so none is asked for.
    headers = {"accept-encoding": "identity"}
    token: Any = row.params.get("auth_token")
    if token:
        if not (isinstance(token, str) and token.isascii() and token.isprintable()):
            raise InputError(f"capability {row.name!r}: auth_token is not printable ASCII text")
        headers["authorization"] = f"Bearer {token}"
    return headers


class _Guarded(httpx2.AsyncBaseTransport):
    """An HTTP transport that bounds replies and turns failed requests into exceptions.

    The SDK would make a tool's error of an HTTP failure, and read a reply of any size.
    """

    def __init__(self, inner: httpx2.AsyncHTTPTransport, link: Link) -> None:
        self._inner = inner
        self._link = link

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._inner.handle_async_request(request)
            if request.method == "POST" and response.status_code >= 400:
                return await _failed(response)
        except Exception as error:
            if request.method == "POST":
                self._link.failure = error
            raise
        if request.method != "POST":
            return response
        stream = _Limited(response, expected.get(), self._link)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=stream,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Limited(httpx2.AsyncByteStream):
    """The body of a reply, ended by an exception where it exceeds the limit."""

    def __init__(self, response: httpx2.Response, reply: Reply | None, link: Link) -> None:
        self._response = response
        self._reply = reply
        self._link = link

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._response.headers.get("content-encoding", "identity") != "identity":
            raise Refused("it compresses replies though it was asked not to")
        size = 0
        try:
            async for chunk in self._response.aiter_raw():
                size += len(chunk)
                if size > MAX_MESSAGE_BYTES:
                    if self._reply is not None:
                        self._reply.is_too_large = True
                    raise TooLarge(f"a reply exceeds {MAX_MESSAGE_BYTES} bytes")
                yield chunk
        except httpx2.TransportError as error:
            self._link.failure = error
            raise

    async def aclose(self) -> None:
        await self._response.aclose()


async def _failed(response: httpx2.Response) -> httpx2.Response:
    """Return a failed request's reply where it is an answer of the protocol.

    Raises:
        Refused: when it is not.
    """
    body = b""
    async with contextlib.aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > _ERROR_BODY_BYTES:
                break
    await response.aclose()
    reason = f"it answered {response.status_code} {response.reason_phrase}".rstrip()
    try:
        answer: Any = json.loads(body)
        message: Any = answer["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise Refused(reason) from None
    if response.status_code >= 500:
        raise Refused(f"{reason}: {bounded(message, 200)}")
    headers = {"content-type": "application/json"}
    return httpx2.Response(response.status_code, headers=headers, content=body)


@contextlib.asynccontextmanager
async def _sse(url: str, client: httpx2.AsyncClient) -> AsyncGenerator[Streams]:
    """Connect as the protocol did before 2025: replies on one GET, requests by POST."""
    received, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, sent = anyio.create_memory_object_stream[SessionMessage](0)

    async def read(*, task_status: TaskStatus[str]) -> None:
        async with client.stream("GET", url, headers={"accept": "text/event-stream"}) as response:
            if response.status_code != 200:
                raise Refused(f"it answered {response.status_code} {response.reason_phrase}")
            source = httpx2.EventSource(response, max_event_size=MAX_MESSAGE_BYTES)
            is_started = False
            async for event in source:
                if event.event == "endpoint" and not is_started:
                    task_status.started(_endpoint(url, event.data))
                    is_started = True
                elif event.event == "message" and event.data:
                    await received.send(_message(event.data))
        raise ConnectionResetError("it ended the stream of events")

    async def write(endpoint: str) -> None:
        async for message in sent:
            async with client.stream(
                "POST",
                endpoint,
                content=_text(message),
                headers={"content-type": "application/json"},
                timeout=WRITE_TIMEOUT_S,
            ) as response:
                if response.status_code >= 300:
                    raise Refused(f"it answered {response.status_code} {response.reason_phrase}")

    async with received, incoming, outgoing, sent, anyio.create_task_group() as group:
        endpoint = cast("str", await group.start(read))
        group.start_soon(write, endpoint)
        try:
            yield incoming, outgoing
        finally:
            group.cancel_scope.cancel()


def _endpoint(url: str, told: str) -> str:
    """Return where to post: the told path, on the origin that was connected to.

    A forwarder's address is not the one the server knows, and the token is for nobody else.
    """
    path = urlsplit(urljoin(url, told))
    return urlsplit(url)._replace(path=path.path, query=path.query, fragment="").geturl()


@contextlib.asynccontextmanager
async def _websocket(url: str, headers: dict[str, str], link: Link) -> AsyncGenerator[Streams]:
    """Connect with one text frame per message, under the subprotocol `mcp`."""
    parts = urlsplit(url)
    connecting = websockets.connect(
        url,
        # Named, so that a redirect cannot take the token elsewhere.
        host=parts.hostname,
        port=parts.port or (443 if parts.scheme == "wss" else 80),
        subprotocols=[websockets.Subprotocol("mcp")],
        additional_headers={k: v for k, v in headers.items() if k == "authorization"},
        compression=None,
        max_size=MAX_MESSAGE_BYTES,
        proxy=None,
        close_timeout=1.0,
    )
    async with connecting as socket:
        received, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outgoing, sent = anyio.create_memory_object_stream[SessionMessage](0)

        async def read() -> None:
            try:
                async for frame in socket:
                    await received.send(_message(frame))
            except websockets.ConnectionClosed as error:
                link.failure = error
                raise
            raise ConnectionResetError("it closed the connection")

        async def write() -> None:
            async for message in sent:
                await socket.send(_text(message))

        async with received, incoming, outgoing, sent, anyio.create_task_group() as group:
            group.start_soon(read)
            group.start_soon(write)
            try:
                yield incoming, outgoing
            finally:
                group.cancel_scope.cancel()


def _message(data: str | bytes) -> SessionMessage:
    message: JSONRPCMessage = jsonrpc_message_adapter.validate_json(data, by_name=False)
    return SessionMessage(message)


def _text(message: SessionMessage) -> str:
    return message.message.model_dump_json(by_alias=True, exclude_unset=True)
