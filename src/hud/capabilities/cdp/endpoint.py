"""Find a browser's websocket from the address in a capability row, and open it.

The host and port in the row are the ones that are dialled, whatever the browser says of itself:
in between stand forwarders it knows nothing of.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import SplitResult, urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import WebSocketException

from hud._core import json
from hud._core.errors import CapabilityFault, InputError, bounded
from hud.capabilities.cdp.reply import record
from hud.protocol.capability import Capability

OPEN_TIMEOUT_S = 20.0
FRAME_LIMIT = 64 * 1024 * 1024
_ANSWER_LIMIT = 1 << 20
_SECURE = {"ws": False, "http": False, "wss": True, "https": True}
_PAGE = re.compile(r"/devtools/page/([^/]+)/?")

Dial = Callable[[], Awaitable[socket.socket]]
"""Returns a new connected, non-blocking socket to the browser's debugging port."""


def page_of(cap: Capability) -> str | None:
    """Return the id of the page that the row names, in its parameters or in its url."""
    named = cap.params.get("target_id")
    if isinstance(named, str) and named:
        return named
    match = _PAGE.fullmatch(urlsplit(cap.url).path)
    return match[1] if match else None


async def open_websocket(
    cap: Capability, dial: Dial | None = None, timeout_s: float = OPEN_TIMEOUT_S
) -> ClientConnection:
    """Connect to the browser behind `cap`; the caller closes what it gets.

    Args:
        dial: Makes the connections instead of dialling the row's host and port.

    Raises:
        CapabilityFault: when nothing answers there, or what answers is no browser.
        InputError: when the row has no usable url.
    """
    parts = _parts(cap)
    try:
        async with asyncio.timeout(timeout_s):
            path = parts.path
            if not path.startswith("/devtools/browser/"):
                path = await _discover(parts, dial)
            elif parts.query:
                path = f"{path}?{parts.query}"
            scheme = "wss" if _SECURE[parts.scheme] else "ws"
            url = f"{scheme}://{parts.netloc.rpartition('@')[2]}{path}"
            sock = await dial() if dial is not None else None
            return await _upgrade(url, sock)
    except TimeoutError as error:
        raise _fault(cap, f"does not answer within {timeout_s:g} s") from error
    except (OSError, EOFError, WebSocketException, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise _fault(cap, f"cannot be reached: {bounded(reason, 300)}") from error


async def _upgrade(url: str, sock: socket.socket | None) -> ClientConnection:
    try:
        return await connect_websocket(
            url,
            sock=sock,
            max_size=FRAME_LIMIT,
            compression=None,
            proxy=None,
            # The browser answers no pings while it is busy: calls have limits of their own.
            ping_interval=None,
            open_timeout=None,
            close_timeout=1.0,
        )
    except BaseException:
        if sock is not None:
            sock.close()
        raise


def _parts(cap: Capability) -> SplitResult:
    try:
        parts = urlsplit(cap.url)
        usable = parts.scheme in _SECURE and parts.hostname and (parts.port or True)
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable:
        raise InputError(
            f"capability {cap.name!r}: {bounded(cap.url)!r} is no address of a browser",
            hint="use ws://host:port or http://host:port of its debugging port",
        )
    return parts


async def _discover(parts: SplitResult, dial: Dial | None) -> str:
    """Ask the debugging port for the path of the browser's own websocket."""
    body = await _get("/json/version", parts, dial)
    url = record({"answer": json.decode(body)}, "answer").get("webSocketDebuggerUrl")
    if not isinstance(url, str):
        raise ValueError("what answers there is no browser's debugging port")
    found = urlsplit(url)
    return f"{found.path}?{found.query}" if found.query else found.path


async def _get(path: str, parts: SplitResult, dial: Dial | None) -> bytes:
    """Return the body of one small HTTP answer."""
    secure = _SECURE[parts.scheme]
    if dial is not None:
        sock = await dial()
        try:
            reader, writer = await asyncio.open_connection(sock=sock, limit=_ANSWER_LIMIT)
        except BaseException:
            sock.close()
            raise
    else:
        port = parts.port or (443 if secure else 80)
        reader, writer = await asyncio.open_connection(
            parts.hostname, port, ssl=secure or None, limit=_ANSWER_LIMIT
        )
    try:
        host = parts.netloc.rpartition("@")[2]
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode("ascii"))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                raise ConnectionResetError("the connection was closed without an answer") from None
            raise ValueError("what answers there does not speak HTTP") from None
        except asyncio.LimitOverrunError:
            raise ValueError("what answers there does not speak HTTP") from None
        status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
        if status is None:
            raise ValueError("what answers there does not speak HTTP")
        if status[1] != b"200":
            raise ValueError(f"{path} answered HTTP {status[1].decode()}")
        length = re.search(rb"(?i)\r\ncontent-length:\s*(\d{1,9})\s*\r\n", head)
        size = int(length[1]) if length else _ANSWER_LIMIT
        if size > _ANSWER_LIMIT:
            raise ValueError(f"{path} answered with {size} bytes")
        return await (reader.readexactly(size) if length else reader.read(_ANSWER_LIMIT))
    finally:
        writer.close()


def _fault(cap: Capability, what: str) -> CapabilityFault:
    return CapabilityFault(
        f"browser {cap.name!r} at {bounded(cap.url)} {what}",
        hint="check that the browser runs and that this is its remote debugging port",
    )
