"""Frames on a byte stream: one JSON object per line, at most 16 MiB.

Sans-I/O: bytes in, lines out. What a line means is `frames`.
"""

from __future__ import annotations

from hud._core.errors import HudError

MAX_FRAME_BYTES = 16 * 1024 * 1024


class FrameTooLong(HudError):
    """A frame is longer than the limit; the stream cannot be trusted any further."""

    code = "frame_too_long"


class FrameBuffer:
    """Collect received bytes and hand out whole lines, without the newline, in order."""

    __slots__ = ("_buffer", "_limit", "_scanned")

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._limit = limit

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next whole line, or None when none is complete yet.

        Raises:
            FrameTooLong: when the line at the front exceeds the limit, complete or not.
        """
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            if self._scanned > self._limit:
                raise FrameTooLong(f"frame exceeds {self._limit} bytes")
            return None
        if end > self._limit:
            raise FrameTooLong(f"frame exceeds {self._limit} bytes")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    def rest(self) -> bytes:
        """Take everything not yet handed out: raw bytes after a stream stops carrying frames."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return data
