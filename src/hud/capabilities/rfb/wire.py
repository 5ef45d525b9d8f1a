"""The bytes of the remote framebuffer protocol 3.8 that a client sends, and its numbers.

Reading what a server sends is `reading`. Source: RFC 6143 and the rfbproto community description
of the extensions (fence, desktop size, extended clipboard).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

# Security types.
SECURITY_NONE = 1
SECURITY_VNC = 2

# Messages of the server.
FRAMEBUFFER_UPDATE = 0
COLOUR_MAP = 1
BELL = 2
SERVER_CUT_TEXT = 3
END_OF_CONTINUOUS_UPDATES = 150
SERVER_FENCE = 248

# Encodings.
RAW = 0
COPY_RECT = 1
DESKTOP_SIZE = -223
LAST_RECT = -224
DESKTOP_NAME = -307
FENCE = -312
CONTINUOUS_UPDATES = -313
EXTENDED_CLIPBOARD = -0x3F5E1A32
# Not the extended desktop size: servers that know it answer each request for pixels with the
# layout of screens first, which costs a second round trip.
ENCODINGS = (
    COPY_RECT,
    RAW,
    DESKTOP_SIZE,
    LAST_RECT,
    DESKTOP_NAME,
    FENCE,
    CONTINUOUS_UPDATES,
)

BYTES_PER_PIXEL = 4
_BGRX = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)

FENCE_REQUEST = 1 << 31
FENCE_KNOWN = 0b111


def set_pixel_format() -> bytes:
    """Ask for four bytes a pixel in the order blue, green, red, unused."""
    return b"\x00\x00\x00\x00" + _BGRX


def set_encodings(encodings: Iterable[int] = ENCODINGS) -> bytes:
    """Say which encodings and extensions the client understands, the preferred ones first."""
    numbers = tuple(encodings)
    return struct.pack(f">BxH{len(numbers)}i", 2, len(numbers), *numbers)


def update_request(incremental: bool, x: int, y: int, width: int, height: int) -> bytes:
    """Ask for a part of the screen: all of it, or what has changed since it was last sent."""
    return struct.pack(">BBHHHH", 3, incremental, x, y, width, height)


def key_event(keysym: int, is_down: bool) -> bytes:
    """Press or release a key by its X keysym."""
    return struct.pack(">BBxxI", 4, is_down, keysym)


def pointer_event(buttons: int, x: int, y: int) -> bytes:
    """Put the pointer at a place with these buttons (bit 0 is the left one) held."""
    return struct.pack(">BBHH", 5, buttons, x, y)


def cut_text(data: bytes) -> bytes:
    """Hand over clipboard text in Latin-1."""
    return struct.pack(">BxxxI", 6, len(data)) + data


def extended_cut_text(data: bytes) -> bytes:
    """Send a message of the extended clipboard."""
    return struct.pack(">Bxxxi", 6, -len(data)) + data


def fence(flags: int, payload: bytes) -> bytes:
    """Answer a fence."""
    return struct.pack(">BxxxIB", SERVER_FENCE, flags, len(payload)) + payload
