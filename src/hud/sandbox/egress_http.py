"""An HTTP proxy's half of a conversation: CONNECT tunnels and requests in absolute form.

One connection to the server per request, kept-alive connections to the client. Messages are read
in `egress_message`; who may be reached is decided by whoever opens the connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from hud.sandbox import egress_message as message
from hud.sandbox.egress_message import CHUNKED, UNTIL_CLOSE, Framing, Head, Malformed
from hud.sandbox.egress_policy import Host, Refused, parse_host, parse_port, shown
from hud.sandbox.egress_streams import Stream, splice

logger = logging.getLogger(__name__)

_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/(1\.[01])")
_STATUS_LINE = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2})(?: .*)?")
_ABSOLUTE = re.compile(r"http://([^/?#]+)([/?][^#]*)?(?:#.*)?", re.IGNORECASE)
_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

Way = Literal["http", "connect"]
Opener = Callable[[Host, int, Way], Awaitable[Stream]]


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    host: Host
    port: int
    path: str
    version: str
    head: Head
    framing: Framing

    @property
    def may_stay(self) -> bool:
        """Whether the client expects to send another request on this connection."""
        closing = {*self.head.tokens("connection"), *self.head.tokens("proxy-connection")}
        return self.version == "1.1" and "close" not in closing


async def serve(client: Stream, first: bytes, open_host: Opener, header_bytes: int) -> None:
    """Serve one connection after its first byte; the caller closes it.

    Args:
        open_host: Connects to a host and port for the named way of asking, raising `Refused`
            where policy forbids and `OSError` or `TimeoutError` where it fails.
    """
    while True:
        try:
            head = await message.read_head(client, header_bytes, first=first)
            first = b""
            if head is None:
                return
            request = _request(head)
            if request.method == "CONNECT":
                await _tunnel(client, request, open_host)
                return
            if not await _exchange(client, request, open_host, header_bytes):
                await client.finish()
                return
        except Malformed as error:
            await refuse(client, error.status, str(error))
            return


async def refuse(client: Stream, status: int, sentence: str) -> None:
    """Answer with one plain sentence and end the connection."""
    body = f"{sentence}\n".encode("utf-8", "replace")
    fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    start = f"HTTP/1.1 {status} {_REASONS[status]}"
    await client.send(message.encode(start, fields) + body)
    await client.finish()


def _request(head: Head) -> _Request:
    """Read a request's head.

    Raises:
        Malformed: when it is none a proxy can serve.
    """
    match = _REQUEST_LINE.fullmatch(head.start)
    if match is None:
        raise Malformed(400, "The request line is malformed.")
    method, target, version = match.groups()
    hosts = head.all("host")
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise Malformed(400, "A request needs one Host header.")
    framing = message.request_framing(head, version)
    if method == "CONNECT":
        if framing != 0:
            raise Malformed(400, "A CONNECT request has no body.")
        host, port = _authority(target, None)
        return _Request(method, host, port, "", version, head, framing)
    if target.lower().startswith("https://"):
        raise Malformed(400, "Ask for an https address with CONNECT.")
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise Malformed(400, "This is a proxy: ask for http addresses in full, or with CONNECT.")
    host, port = _authority(found[1], 80)
    path = found[2] or "/"
    path = path if path.startswith("/") else f"/{path}"
    return _Request(method, host, port, path, version, head, framing)


def _authority(text: str, default_port: int | None) -> tuple[Host, int]:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, "" if default_port is None else str(default_port)
    try:
        return parse_host(host), parse_port(port)
    except ValueError as error:
        raise Malformed(400, f"The address asked for cannot be used: {error}.") from None


async def _open(client: Stream, request: _Request, way: Way, open_host: Opener) -> Stream | None:
    """Connect for a request, or tell the client why not."""
    where = shown(request.host, request.port)
    try:
        return await open_host(request.host, request.port, way)
    except Refused as error:
        await refuse(client, 403, str(error))
    except TimeoutError:
        await refuse(client, 504, f"{where} did not answer in time.")
    except OSError:
        await refuse(client, 502, f"{where} cannot be reached.")
    return None


async def _tunnel(client: Stream, request: _Request, open_host: Opener) -> None:
    server = await _open(client, request, "connect", open_host)
    if server is None:
        return
    try:
        await client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await splice(client, server)
    finally:
        await server.close()


async def _exchange(
    client: Stream, request: _Request, open_host: Opener, header_bytes: int
) -> bool:
    """Pass one request and its response; say whether the client may send another."""
    server = await _open(client, request, "http", open_host)
    if server is None:
        return False
    begun = asyncio.Event()
    upload = asyncio.ensure_future(_send_request(client, server, request))
    answer = asyncio.ensure_future(_pass_response(client, server, request, header_bytes, begun))
    try:
        await asyncio.wait({upload, answer}, return_when=asyncio.FIRST_COMPLETED)
        broken = upload.exception() if upload.done() else None
        if isinstance(broken, Malformed):
            if begun.is_set():
                return False
            raise broken
        # A server that stopped reading may still have said why.
        stays = await answer
        return stays and upload.done() and upload.exception() is None
    except (OSError, EOFError) as error:
        logger.debug("an exchange with %s ended early: %s", request.host, error)
        return False
    finally:
        for task in (upload, answer):
            task.cancel()
        await asyncio.shield(asyncio.gather(upload, answer, return_exceptions=True))
        await server.close()


async def _send_request(client: Stream, server: Stream, request: _Request) -> None:
    default = request.port == 80
    where = shown(request.host, request.port)
    host = where.removesuffix(":80") if default else where
    fields = [(name, value) for name, value in request.head.forwarded() if name.lower() != "host"]
    fields = [("Host", host), *fields, ("Connection", "close")]
    if request.framing == CHUNKED:
        fields.append(("Transfer-Encoding", "chunked"))
    start = f"{request.method} {request.path} HTTP/1.1"
    await server.send(message.encode(start, fields))
    await message.pass_body(client, server, request.framing)


async def _pass_response(
    client: Stream, server: Stream, request: _Request, header_bytes: int, begun: asyncio.Event
) -> bool:
    """Pass the response, interim ones before it; say whether the connection can be kept.

    Args:
        begun: Set once the client has got any of it.

    Raises:
        Malformed: with status 502, while nothing of it was passed on.
    """
    where = shown(request.host, request.port)
    while True:
        try:
            head = await message.read_head(server, header_bytes, strict=False)
        except TimeoutError:
            raise Malformed(504, f"{where} did not answer in time.") from None
        except (Malformed, OSError) as error:
            raise Malformed(502, f"{where} gave no proper answer.") from error
        match = None if head is None else _STATUS_LINE.fullmatch(head.start)
        if head is None or match is None or match[1] == "101":
            raise Malformed(502, f"{where} gave no proper answer.")
        status = int(match[1])
        if status >= 200:
            break
        if request.version == "1.1":
            begun.set()
            await client.send(message.encode(head.start, head.forwarded()))
    framing = message.response_framing(head, status, request.method)
    fields = head.forwarded()
    if framing in (CHUNKED, UNTIL_CLOSE):
        # A length beside chunks, or in a message without one, is not the length.
        fields = [(name, value) for name, value in fields if name.lower() != "content-length"]
    as_chunks = framing == UNTIL_CLOSE and request.version == "1.1"
    dechunk = framing == CHUNKED and request.version == "1.0"
    if as_chunks or (framing == CHUNKED and not dechunk):
        fields.append(("Transfer-Encoding", "chunked"))
    stays = request.may_stay
    fields.append(("Connection", "keep-alive" if stays else "close"))
    begun.set()
    start = f"HTTP/1.1 {head.start.partition(' ')[2]}"
    await client.send(message.encode(start, fields))
    with contextlib.suppress(Malformed):
        await message.pass_body(server, client, framing, as_chunks=as_chunks, plain=dechunk)
        return stays
    return False
