"""What a viewer of a desktop may say to it: that it wants to see, and in which form.

Keys, the pointer, the clipboard and the size of the screen are left out here, on the server,
whatever the viewer's page does. Sans-I/O. Source: RFC 6143 and the rfbproto description of the
extensions.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

SET_PIXEL_FORMAT = 0
SET_ENCODINGS = 2
UPDATE_REQUEST = 3
_KEY, _POINTER, _CUT_TEXT = 4, 5, 6
_CONTINUOUS_UPDATES, _FENCE, _XVP, _DESKTOP_SIZE, _QEMU = 150, 248, 250, 251, 255

_ENCODINGS_AT_MOST = 256
_CUT_TEXT_BYTES = 4 * 1024 * 1024
# Raw, CopyRect, RRE, Hextile, Zlib, Tight, ZRLE; last rectangle and size of the desktop. Not the
# cursor: left out, the server draws it where the agent has it. Not continuous updates: what is sent
# is asked for, so a slow viewer is sent less.
_ENCODINGS = frozenset((0, 1, 2, 5, 6, 7, 16, -223, -224))
_QUALITIES = (range(-32, -22), range(-256, -246))


class Rude(Exception):
    """A viewer that says what no viewer says."""


class ViewOnly:
    """Takes what a viewer sends, in pieces, and returns what may be passed on."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skipping = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the whole messages that are passed on, in order.

        Raises:
            Rude: when it is no message, or one beyond all measure.
        """
        if self._skipping:
            dropped = min(self._skipping, len(data))
            self._skipping -= dropped
            data = data[dropped:]
        self._buffer += data
        passed: list[bytes] = []
        while self._buffer:
            size = self._size()
            if size is None or len(self._buffer) < size:
                if size is not None and self._is_dropped():
                    self._skipping = size - len(self._buffer)
                    self._buffer.clear()
                break
            message = bytes(self._buffer[:size])
            del self._buffer[:size]
            if message[0] == SET_ENCODINGS:
                passed.append(_only_pictures(message))
            elif message[0] in (SET_PIXEL_FORMAT, UPDATE_REQUEST):
                passed.append(message)
        return passed

    def _is_dropped(self) -> bool:
        return self._buffer[0] not in (SET_PIXEL_FORMAT, SET_ENCODINGS, UPDATE_REQUEST)

    def _size(self) -> int | None:
        """Return how long the message is that begins here, None while that is not known."""
        found = _SIZES.get(self._buffer[0])
        if found is None:
            raise Rude(f"a message of unknown type {self._buffer[0]}")
        head, measure = found
        return None if len(self._buffer) < head else measure(bytes(self._buffer[:head]))


def _fixed(size: int) -> tuple[int, Callable[[bytes], int]]:
    return 1, lambda head: size


def _encodings(head: bytes) -> int:
    (count,) = struct.unpack(">xxH", head)
    if count > _ENCODINGS_AT_MOST:
        raise Rude(f"{count} encodings")
    return 4 + 4 * count


def _cut_text(head: bytes) -> int:
    (length,) = struct.unpack(">xxxxi", head)
    if abs(length) > _CUT_TEXT_BYTES:
        raise Rude(f"a clipboard of {abs(length)} bytes")
    return 8 + abs(length)


def _qemu(head: bytes) -> int:
    if head[1] != 0:
        raise Rude(f"a message of unknown type 255/{head[1]}")
    return 12


_SIZES: dict[int, tuple[int, Callable[[bytes], int]]] = {
    SET_PIXEL_FORMAT: _fixed(20),
    SET_ENCODINGS: (4, _encodings),
    UPDATE_REQUEST: _fixed(10),
    _KEY: _fixed(8),
    _POINTER: _fixed(6),
    _CUT_TEXT: (8, _cut_text),
    _CONTINUOUS_UPDATES: _fixed(10),
    _FENCE: (9, lambda head: 9 + head[8]),
    _XVP: _fixed(4),
    _DESKTOP_SIZE: (8, lambda head: 8 + 16 * head[6]),
    _QEMU: (2, _qemu),
}


def _only_pictures(message: bytes) -> bytes:
    """Return the encodings asked for, without those that do more than show."""
    asked = struct.unpack(f">{(len(message) - 4) // 4}i", message[4:])
    kept = [
        one for one in asked if one in _ENCODINGS or any(one in each for each in _QUALITIES)
    ] or [0]
    return struct.pack(f">BxH{len(kept)}i", SET_ENCODINGS, len(kept), *kept)
