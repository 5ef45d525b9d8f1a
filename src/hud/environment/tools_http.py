"""An ASGI app in front of the tools': only the owner of a token is heard, and not at any length.

The connections are `hud._core.http_sockets`, what is served that of `tools`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Generator, MutableMapping
from typing import Any, cast

import anyio

from hud._core.http_sockets import App, Receive, Scope, Send

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_READING = 32
BODY_TIMEOUT_S = 30.0
CALLS = "hud.calls"
"""Key of a request's scope that holds its `Calls`."""


class Calls:
    """The calls made by one request, to be cancelled with it.

    A result whose connection is gone reaches nobody: the protocol offers no way to fetch it later,
    as nothing here stores events.
    """

    def __init__(self) -> None:
        self._scopes: set[anyio.CancelScope] = set()
        self._is_over = False

    @contextlib.contextmanager
    def running(self) -> Generator[None]:
        """Run a block that ends, without an exception, when the request is over."""
        with anyio.CancelScope() as scope:
            if self._is_over:
                scope.cancel()
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def abandon(self) -> None:
        """Cancel what still runs; called when the request is over."""
        self._is_over = True
        for scope in tuple(self._scopes):
            scope.cancel()


class Guard:
    """An ASGI app in front of another: checks the token and bounds what a request sends."""

    def __init__(self, inner: App, *, path: str, token: str) -> None:
        self._inner = inner
        self._path = path
        self._expected = f"Bearer {token}".encode()
        self._reading = asyncio.Semaphore(MAX_READING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
            await _answer(send, 401, "the bearer token is missing or wrong")
            return
        if scope["path"] != self._path:
            await _answer(send, 404, f"nothing here: the endpoint is {self._path}")
            return
        if scope["method"] == "POST":
            body = await self._body(headers, receive, send)
            if body is None:
                return
            receive = _replayed(body, receive)
        calls = scope[CALLS] = Calls()
        try:
            await self._inner(scope, receive, send)
        finally:
            calls.abandon()

    async def _body(
        self, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> bytes | None:
        """Return the request's body, or None when it was refused or its sender is gone."""
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared[:20]) > MAX_BODY_BYTES:
            await _answer(send, 413, f"more than {MAX_BODY_BYTES} bytes")
            return None
        body = bytearray()
        try:
            async with self._reading, asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    body += message.get("body", b"")
                    if len(body) > MAX_BODY_BYTES:
                        await _answer(send, 413, f"more than {MAX_BODY_BYTES} bytes")
                        return None
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            await _answer(send, 408, f"no whole request within {BODY_TIMEOUT_S:g} s")
            return None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read already, then what comes after it."""
    is_given = False

    async def replayed() -> MutableMapping[str, Any]:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _answer(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        # What is left of a refused request's body is not read.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
