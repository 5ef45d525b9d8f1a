"""What a server of the remote framebuffer protocol sends, read without any I/O.

Generators: they yield how many bytes they need and are sent exactly these; whoever owns the
connection feeds them. So nothing that is cancelled can leave a message half read.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import NoReturn, Protocol

from hud.capabilities.rfb import vncauth, wire
from hud.capabilities.rfb.clipboard import MAX_BYTES, Clipboard
from hud.capabilities.rfb.errors import ServerError
from hud.capabilities.rfb.frame import MAX_PIXELS, Frame

Reading = Generator[int, bytes, None]
_MAX_REASON = 4096
_MAX_NAME = 1 << 16
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Hello:
    """What a server said of itself while the connection was made."""

    width: int
    height: int
    name: str


class Sender(Protocol):
    """Who sends for the reader."""

    def send(self, data: bytes) -> None: ...


class Listener(Sender, Protocol):
    """Who is told what came."""

    frame: Frame
    clipboard: Clipboard

    def updated(self, rectangles: list[tuple[int, int, int, int]]) -> None: ...

    def fenced(self) -> None: ...

    def rang(self) -> None: ...

    def copied(self) -> None: ...


def handshake(sender: Sender, password: str | None) -> Generator[int, bytes, Hello]:
    """Agree on a version, authenticate, ask for the pixel format and the extensions.

    Raises:
        ServerError: when the server is none, refuses, or asks for what is not spoken here.
    """
    said = yield from introduce(sender, password)
    sender.send(wire.set_pixel_format() + wire.set_encodings())
    width, height = struct.unpack(">HH", said[:4])
    return Hello(width, height, said[24:].decode("utf-8", "replace"))


def introduce(sender: Sender, password: str | None) -> Generator[int, bytes, bytes]:
    """Agree on a version and authenticate; return what the server says of itself, as it says it.

    Raises:
        ServerError: as for `handshake`.
    """
    line = yield 12
    if not line.startswith(b"RFB ") or line[7:8] != b"." or not line[4:7].isdigit():
        raise ServerError(f"it is no VNC server: it says {line!r}")
    minor = int(line[8:11]) if line[8:11].isdigit() else 8
    version = 8 if minor >= 8 else 7 if minor == 7 else 3
    sender.send(b"RFB 003.%03d\n" % version)
    if version == 3:
        chosen = int.from_bytes((yield 4), "big")
        if chosen == 0:
            raise ServerError(f"it refused: {(yield from _reason())}")
    else:
        chosen = yield from _choose(sender, password)
    if chosen == wire.SECURITY_VNC:
        if password is None:
            raise ServerError("it asks for a password, and the row has none")
        sender.send(vncauth.answer(password, (yield 16)))
    elif chosen != wire.SECURITY_NONE:
        raise ServerError(f"it asks for security type {chosen}, which is not spoken here")
    if (version == 8 or chosen == wire.SECURITY_VNC) and any((yield 4)):
        why = f": {(yield from _reason())}" if version == 8 else ""
        raise ServerError(f"it refused the password{why}")
    sender.send(b"\x01")  # other clients stay connected
    head = yield 24
    return head + (yield from _bytes(int.from_bytes(head[20:], "big"), _MAX_NAME))


def messages(to: Listener) -> Generator[int, bytes, NoReturn]:
    """Read messages for ever.

    Raises:
        ServerError: when one is malformed.
    """
    while True:
        kind = (yield 1)[0]
        if kind == wire.FRAMEBUFFER_UPDATE:
            yield from _update(to)
        elif kind == wire.SERVER_CUT_TEXT:
            yield from _cut_text(to)
        elif kind == wire.BELL:
            to.rang()
        elif kind == wire.END_OF_CONTINUOUS_UPDATES:
            to.fenced()
        elif kind == wire.SERVER_FENCE:
            flags, length = struct.unpack(">3xIB", (yield 8))
            payload = (yield length) if length else b""
            to.fenced()
            if flags & wire.FENCE_REQUEST:
                to.send(wire.fence(flags & wire.FENCE_KNOWN, payload))
        elif kind == wire.COLOUR_MAP:
            (colours,) = struct.unpack(">3xH", (yield 5))
            yield from _skip(colours * 6)
        else:
            raise ServerError(f"a message of unknown type {kind}")


def _choose(sender: Sender, password: str | None) -> Generator[int, bytes, int]:
    count = (yield 1)[0]
    if count == 0:
        raise ServerError(f"it refused: {(yield from _reason())}")
    offered = yield count
    wanted = [wire.SECURITY_NONE, wire.SECURITY_VNC]
    if password is not None:
        wanted.reverse()
    for kind in wanted:
        if kind in offered:
            sender.send(bytes([kind]))
            return kind
    raise ServerError(f"it offers security types {sorted(offered)}, none of which is spoken here")


def _update(to: Listener) -> Reading:
    (count,) = struct.unpack(">xH", (yield 3))
    rectangles: list[tuple[int, int, int, int]] = []
    while count:
        count -= 1
        x, y, width, height, encoding = struct.unpack(">HHHHi", (yield 12))
        if encoding == wire.RAW:
            if width * height > MAX_PIXELS:
                raise ServerError(f"a rectangle of {width}x{height} pixels")
            size = width * height * wire.BYTES_PER_PIXEL
            to.frame.raw(x, y, width, height, (yield size) if size else b"")
        elif encoding == wire.COPY_RECT:
            to.frame.copy(x, y, width, height, struct.unpack(">HH", (yield 4)))
        elif encoding == wire.LAST_RECT:
            break
        elif encoding == wire.DESKTOP_SIZE:
            to.frame.resize(width, height)
            continue
        elif encoding == wire.DESKTOP_NAME:
            yield from _bytes(int.from_bytes((yield 4), "big"), _MAX_NAME)
            continue
        else:
            raise ServerError(f"a rectangle in unknown encoding {encoding}")
        rectangles.append((x, y, width, height))
    to.updated(rectangles)


def _cut_text(to: Listener) -> Reading:
    (length,) = struct.unpack(">3xi", (yield 7))
    if abs(length) > MAX_BYTES:
        yield from _skip(abs(length))
        return
    data = (yield abs(length)) if length else b""
    if length < 0:
        answer = to.clipboard.extended(data)
        if answer:
            to.send(answer)
    else:
        to.clipboard.plain(data)
    to.copied()


def _reason() -> Generator[int, bytes, str]:
    text = yield from _bytes(int.from_bytes((yield 4), "big"), _MAX_REASON)
    return text.decode("utf-8", "replace")


def _bytes(length: int, limit: int) -> Generator[int, bytes, bytes]:
    if length > limit:
        raise ServerError(f"a text of {length} bytes")
    return (yield length) if length else b""


def _skip(length: int) -> Reading:
    while length:
        piece = min(length, _PIECE)
        yield piece
        length -= piece
