"""The door in front of every route: which host and origin a request may name, how long it may be.

A web page or an agent's browser can reach a loopback port, so being local proves nothing: a page
is kept out because its Host or its Origin is not ours, and because the cookie is not its to send.
"""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hud.platform.config import PlatformConfig
from hud.platform.errors import error_response

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)


_SHORT_BODY_BYTES = 1024 * 1024
# Where more is taken; all of them look at the key before they read. Elsewhere the body is read
# first, so it is kept short.
_LONG_BODIES = ("/telemetry/", "/v2/trace/", "/v2/tasks/upload", "/inference/")
_CONTEXTS = re.compile(r"/v2/builds/[^/]+/context")


class Guard:
    """An ASGI middleware that refuses what must not come in, and marks what goes out."""

    def __init__(self, app: ASGIApp, config: PlatformConfig) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        limit_bytes = self._limit_bytes(scope["path"])
        refusal = self._refusal(headers, limit_bytes)
        if refusal is not None:
            await self._refuse(scope, receive, send, *refusal)
            return
        limited = _Limited(receive, limit_bytes)
        await self._app(scope, limited, _marking(send) if scope["type"] == "http" else send)

    def _limit_bytes(self, path: str) -> int:
        if _CONTEXTS.fullmatch(path):
            return self._config.context_limit_bytes
        longest = self._config.body_limit_bytes
        return longest if path.startswith(_LONG_BODIES) else min(_SHORT_BODY_BYTES, longest)

    def _refusal(
        self, headers: dict[bytes, bytes], limit_bytes: int
    ) -> tuple[int, str, str, str | None] | None:
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._config.knows_host(_without_port(host)):
            hint = "name it with --public-url when people reach this server by that name"
            return 421, "misdirected", "this request is for another host", hint
        origin = headers.get(b"origin")
        if origin is not None and not self._is_ours(origin.decode("latin-1"), host):
            return 403, "forbidden", "requests from pages of another origin are refused", None
        # A browser that sends no Origin (a GET) still says where the request comes from.
        site = headers.get(b"sec-fetch-site", b"none")
        is_navigation = headers.get(b"sec-fetch-mode") == b"navigate"
        if site not in (b"none", b"same-origin") and not is_navigation:
            return 403, "forbidden", "requests from pages of another origin are refused", None
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            return 400, "bad_input", "Content-Length is no number", None
        if int(length) > limit_bytes:
            return 413, "too_large", _too_large(limit_bytes), None
        return None

    def _is_ours(self, origin: str, host: str) -> bool:
        scheme, found, named = origin.partition("://")
        if not found or scheme not in ("http", "https"):
            return False
        if self._config.public_url is not None and origin == self._config.public_url.rstrip("/"):
            return True
        return named.lower() == host.lower()

    @staticmethod
    async def _refuse(
        scope: Scope,
        receive: Receive,
        send: Send,
        status: int,
        kind: str,
        detail: str,
        hint: str | None,
    ) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        await error_response(status, kind, detail, hint)(scope, receive, send)


class _Limited:
    """Counts the bytes of a body that did not say how long it is."""

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive = receive
        self._limit = limit_bytes
        self._seen = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._limit:
                # This kind passes through whatever is reading the body.
                raise HTTPException(413, _too_large(self._limit))
        return message


def _marking(send: Send) -> Send:
    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await send(message)

    return marked


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] if ":" in host else host


def _too_large(limit_bytes: int) -> str:
    return f"the body is longer than {limit_bytes // (1024 * 1024)} MiB"
