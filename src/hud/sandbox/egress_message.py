"""HTTP/1.1 messages as a careful proxy reads them (RFC 9112): heads, framing, bodies.

A request that two readers could take for different ones is refused, never repaired; a response
may be a little untidy, since the sandbox that asked is the only one it can fool.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

from hud.sandbox.egress_streams import Stream

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(r"([0-9A-Fa-f]{1,16})[ \t]*(;.*)?")
_CHUNK_LINE_BYTES = 4096
_HOP_BY_HOP = frozenset(
    (
        *("connection", "proxy-connection", "keep-alive", "te", "trailer", "upgrade"),
        *("transfer-encoding", "proxy-authenticate", "proxy-authorization"),
    )
)

CHUNKED = "chunked"
UNTIL_CLOSE = "until close"
Framing = int | str


class Malformed(Exception):
    """A message that is not passed on; the text is one sentence for its sender."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(slots=True)
class Head:
    """The first line and the fields of a message, in their order, names as they were sent."""

    start: str
    fields: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name]

    def tokens(self, name: str) -> list[str]:
        """Return the members of a field that is a list, in lower case."""
        joined = ",".join(self.all(name))
        return [word.strip().lower() for word in joined.split(",") if word.strip()]

    def forwarded(self) -> list[tuple[str, str]]:
        """Return the fields without those that concern only the connection they came by."""
        dropped = _HOP_BY_HOP | set(self.tokens("connection"))
        return [(name, value) for name, value in self.fields if name.lower() not in dropped]


async def read_head(
    source: Stream, limit: int, *, first: bytes = b"", strict: bool = True
) -> Head | None:
    """Read a head; None when the stream ends before it begins.

    Args:
        limit: In bytes, for all of it.
        first: What was read of it already.
        strict: Refuse bare line feeds.

    Raises:
        Malformed: with status 400 or 431.
        TimeoutError: when it does not arrive.
    """
    lines: list[str] = []
    size = 0
    async with asyncio.timeout(source.idle_s):
        while True:
            line = first + await _line(source, limit)
            first = b""
            size += len(line)
            if not line and not lines:
                return None
            if size > limit:
                raise Malformed(431, "The head of this message is too long.")
            text = _text(line, strict)
            if text:
                lines.append(text)
            elif lines:
                break
            # Empty lines before a request line are to be skipped (RFC 9112 §2.2).
    head = Head(lines[0])
    for text in lines[1:]:
        name, colon, value = text.partition(":")
        if not colon or _TOKEN.fullmatch(name) is None:
            raise Malformed(400, "A header line is malformed.")
        value = value.strip(" \t")
        if _VALUE.fullmatch(value) is None:
            raise Malformed(400, "A header line has control characters in it.")
        head.fields.append((name, value))
    return head


async def _line(source: Stream, limit: int) -> bytes:
    try:
        return await source.reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Malformed(400, "The message ends within its head.") from None
        return b""
    except asyncio.LimitOverrunError:
        raise Malformed(431, "The head of this message is too long.") from None


def _text(line: bytes, strict: bool) -> str:
    if not line.endswith(b"\n"):
        raise Malformed(400, "The message ends within its head.")
    if line.endswith(b"\r\n"):
        line = line[:-2]
    elif strict:
        raise Malformed(400, "A line ends without a carriage return.")
    else:
        line = line[:-1]
    if b"\r" in line or b"\0" in line:
        raise Malformed(400, "A header line has control characters in it.")
    return line.decode("latin-1")


def request_framing(head: Head, version: str) -> Framing:
    """Return how long a request's body is: a number of bytes, or `CHUNKED`.

    Raises:
        Malformed: when there is more than one answer to that.
    """
    lengths, codings = head.all("content-length"), head.all("transfer-encoding")
    if codings:
        if lengths:
            raise Malformed(400, "A request has both Content-Length and Transfer-Encoding.")
        if version != "1.1" or len(codings) > 1 or codings[0].lower() != "chunked":
            raise Malformed(400, "A request's Transfer-Encoding is not plain chunked.")
        return CHUNKED
    if not lengths:
        return 0
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise Malformed(400, "A request's Content-Length is not one number.")
    return int(lengths[0])


def response_framing(head: Head, status: int, method: str) -> Framing:
    """Return how long a response's body is.

    Raises:
        Malformed: with status 502, when that cannot be told.
    """
    if method == "HEAD" or status in (204, 304) or status < 200:
        return 0
    codings = head.tokens("transfer-encoding")
    if codings:
        if codings != ["chunked"]:
            raise Malformed(502, "The server answered with an unknown transfer coding.")
        return CHUNKED
    lengths = set(head.all("content-length"))
    if not lengths:
        return UNTIL_CLOSE
    length = lengths.pop()
    if lengths or _LENGTH.fullmatch(length) is None:
        raise Malformed(502, "The server answered with an unclear length.")
    return int(length)


async def pass_body(
    source: Stream,
    target: Stream,
    framing: Framing,
    *,
    as_chunks: bool = False,
    plain: bool = False,
) -> None:
    """Stream a body through.

    Args:
        as_chunks: Give a body that lasts until close chunks, so that the connection can stay.
        plain: Take the chunks off a chunked body, for a receiver that knows none.

    Raises:
        Malformed: when it ends early or its chunks make no sense.
    """
    if framing == CHUNKED:
        await _pass_chunks(source, target, plain=plain)
    elif framing == UNTIL_CLOSE:
        while data := await source.read():
            await target.send(_chunk(data) if as_chunks else data)
        if as_chunks:
            await target.send(b"0\r\n\r\n")
    else:
        assert isinstance(framing, int)
        await _pass_bytes(source, target, framing)


async def _pass_bytes(source: Stream, target: Stream, count: int) -> None:
    while count:
        async with asyncio.timeout(source.idle_s):
            data = await source.reader.read(min(count, 1 << 16))
        if not data:
            raise Malformed(400, "A body ends before its length.")
        count -= len(data)
        await target.send(data)


async def _pass_chunks(source: Stream, target: Stream, *, plain: bool) -> None:
    while True:
        async with asyncio.timeout(source.idle_s):
            line = await _line(source, _CHUNK_LINE_BYTES)
        match = _CHUNK_SIZE.fullmatch(_text(line, strict=True))
        if match is None or len(line) > _CHUNK_LINE_BYTES:
            raise Malformed(400, "A chunk's size is malformed.")
        size = int(match[1], 16)
        if size == 0:
            break
        if not plain:
            await target.send(b"%x\r\n" % size)
        await _pass_bytes(source, target, size)
        async with asyncio.timeout(source.idle_s):
            end = await _line(source, _CHUNK_LINE_BYTES)
        if end != b"\r\n":
            raise Malformed(400, "A chunk is longer than it says.")
        if not plain:
            await target.send(b"\r\n")
    # What follows the last chunk concerns the sender alone; it ends with an empty line.
    rest = 0
    while True:
        async with asyncio.timeout(source.idle_s):
            line = await _line(source, _CHUNK_LINE_BYTES)
        rest += len(line)
        if rest > 2 * _CHUNK_LINE_BYTES:
            raise Malformed(400, "The trailer of a body is too long.")
        if not _text(line, strict=True):
            break
    if not plain:
        await target.send(b"0\r\n\r\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode(start: str, fields: list[tuple[str, str]]) -> bytes:
    """Return a head as it goes over the wire."""
    lines = [start, *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")
