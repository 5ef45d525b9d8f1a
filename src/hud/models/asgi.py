"""The server's half of passing model calls on: a request's body read, a refusal answered.

For whoever does so as an ASGI app. Which request is whose is `wire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from hud._core.http_sockets import Receive, Send
from hud.models.provider import Dialect
from hud.models.wire import error_body

BODY_TIMEOUT_S = 120.0
_DROPPED_TIMES = 8


class Refusal(Exception):
    """A request that is not passed on, answered in the words of its dialect.

    Attributes:
        code: A short name of what is wrong.
        may_pass: Whether a client should try again.
        retry_after_s: When, where that is known.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        may_pass: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.may_pass = may_pass
        self.retry_after_s = retry_after_s


async def read_body(
    headers: Mapping[str, str],
    receive: Receive,
    *,
    limit_bytes: int,
    grow: Callable[[int], None] | None = None,
) -> bytes | None:
    """Return a request's body; None when its sender is gone.

    Args:
        grow: Told of every further bytes that are held; may refuse them.

    Raises:
        Refusal: when it is too long, or does not come to its end in time.
    """
    declared = headers.get("content-length", "")
    size = int(declared[:20]) if declared.isdigit() else 0
    too_long = Refusal(413, "request_too_large", f"the body is longer than {limit_bytes} bytes")
    dropped_bytes = _DROPPED_TIMES * limit_bytes
    if size > dropped_bytes:
        raise too_long
    is_too_long = size > limit_bytes
    received = 0
    pieces: list[bytes] = []
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                piece = message.get("body", b"")
                received += len(piece)
                # One that is too long is read all the same: who still sends reads no answer.
                is_too_long = is_too_long or received > limit_bytes
                if is_too_long:
                    pieces.clear()
                elif piece:
                    if grow is not None:
                        grow(len(piece))
                    pieces.append(piece)
                is_over = not message.get("more_body", False)
                if is_too_long and (is_over or received > dropped_bytes):
                    raise too_long
                if is_over:
                    return b"".join(pieces)
    except TimeoutError:
        text = f"no whole request in {BODY_TIMEOUT_S:g} s"
        raise Refusal(408, "timeout", text) from None


async def refuse(send: Send, dialect: Dialect, refusal: Refusal) -> None:
    """Answer a request with a refusal."""
    body = error_body(dialect, refusal.status, refusal.message, refusal.code)
    headers = [(b"content-type", b"application/json")]
    headers.append((b"content-length", str(len(body)).encode()))
    if not refusal.may_pass:
        headers.append((b"x-should-retry", b"false"))
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", f"{max(1.0, refusal.retry_after_s):.0f}".encode()))
    if refusal.status in (408, 413):  # the rest of its body is not read
        headers.append((b"connection", b"close"))
    await send(start_of(refusal.status, headers))
    await send(part_of(body, more=False))


def start_of(status: int, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Return the message that begins a response."""
    return {"type": "http.response.start", "status": status, "headers": headers}


def part_of(data: bytes, *, more: bool) -> dict[str, Any]:
    """Return the message that is a piece of a response's body."""
    return {"type": "http.response.body", "body": data, "more_body": more}
