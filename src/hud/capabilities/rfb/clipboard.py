"""The clipboard shared with the screen: Latin-1, or any text where the server extends it.

Pure: messages in, messages out. Waiting for an answer is `client`'s part.
"""

from __future__ import annotations

import struct
import zlib

from hud.capabilities.rfb import wire
from hud.capabilities.rfb.errors import ServerError

MAX_BYTES = 4 << 20
"""The longest text that is taken or given."""

_TEXT = 1
_CAPS = 1 << 24
_REQUEST = 1 << 25
_PEEK = 1 << 26
_NOTIFY = 1 << 27
_PROVIDE = 1 << 28


class Clipboard:
    """Who owns the clipboard, and its text as far as known.

    Attributes:
        is_extended: Whether the server takes and gives any Unicode text.
        own: Text that this client offers, or None when the screen's own programs own it.
        text: What the screen's programs copied last, as far as it was fetched.
        is_announced: Whether they copied something that was not fetched yet.
        copies: How often the screen's programs announced a text.
        served: How often a text of ours was handed over.
        fetched: Up to which of `copies` the caller was told.
    """

    def __init__(self) -> None:
        self.is_extended = False
        self.own: str | None = None
        self.text = ""
        self.is_announced = False
        self.copies = 0
        self.served = 0
        self.fetched = 0

    def offer(self, text: str) -> bytes:
        """Return the message that makes `text` the clipboard's content.

        Raises:
            UnicodeEncodeError: when the server takes Latin-1 alone, and `text` is more.
        """
        if self.is_extended:
            self.own = text
            return _message(_NOTIFY | _TEXT)
        data = text.encode("latin-1")
        self.own = text
        self.served += 1
        return wire.cut_text(data)

    def ask(self) -> bytes:
        """Return the message that asks for an announced text."""
        return _message(_REQUEST | _TEXT)

    def plain(self, data: bytes) -> None:
        """Take a Latin-1 text from the server."""
        self._take(data.decode("latin-1"))
        self.copies += 1

    def extended(self, data: bytes) -> bytes:
        """Take a message of the extended clipboard and return the answer to it, maybe empty.

        Raises:
            ServerError: when it is malformed.
        """
        if len(data) < 4:
            raise ServerError(f"a clipboard message of {len(data)} bytes")
        flags = int.from_bytes(data[:4], "big")
        if flags & _CAPS:
            self.is_extended = True
            return _message(_CAPS | _REQUEST | _PEEK | _NOTIFY | _PROVIDE | _TEXT, b"\0\0\0\0")
        if flags & _REQUEST:
            return self._provide() if flags & _TEXT else b""
        if flags & _PEEK:
            return _message(_NOTIFY | (_TEXT if self.own is not None else 0))
        if flags & _NOTIFY:
            self.own = None
            self.text = ""
            self.is_announced = bool(flags & _TEXT)
            self.copies += self.is_announced
        elif flags & _PROVIDE and flags & _TEXT:
            self._take(_inflated(data[4:]))
        return b""

    def _take(self, text: str) -> None:
        self.own = None
        self.text = text.replace("\r\n", "\n")
        self.is_announced = False

    def _provide(self) -> bytes:
        if self.own is None:
            return b""
        data = self.own.replace("\r\n", "\n").replace("\n", "\r\n").encode() + b"\0"
        self.served += 1
        packed = zlib.compress(struct.pack(">I", len(data)) + data, 1)
        return _message(_PROVIDE | _TEXT, packed)


def _message(flags: int, body: bytes = b"") -> bytes:
    return wire.extended_cut_text(struct.pack(">I", flags) + body)


def _inflated(data: bytes) -> str:
    try:
        raw = zlib.decompressobj().decompress(data, MAX_BYTES + 4)
    except zlib.error as error:
        raise ServerError(f"a clipboard text that cannot be unpacked: {error}") from error
    size = int.from_bytes(raw[:4], "big")
    if len(raw) < 4 or size > len(raw) - 4:
        raise ServerError(f"a clipboard text of {size} bytes, of which {len(raw)} came")
    return raw[4 : 4 + size].removesuffix(b"\0").decode("utf-8", "replace")
