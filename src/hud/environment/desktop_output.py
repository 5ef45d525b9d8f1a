"""What the programs of a desktop write: the end of it, and lines that say that one is ready.

Whoever starts the programs gives them `fd` and closes this.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
from typing import Self

_KEPT = 8_192


class Output(asyncio.Protocol):
    """A pipe whose last 8 KiB are kept."""

    def __init__(self) -> None:
        self._tail = bytearray()
        self._arrived = asyncio.Event()
        self._is_over = False
        self._pipe: asyncio.BaseTransport | None = None
        self.fd = -1

    async def open(self) -> Self:
        """Make the pipe; `fd` is then what to give to programs."""
        read, self.fd = os.pipe2(os.O_CLOEXEC)
        try:
            loop = asyncio.get_running_loop()
            self._pipe, _ = await loop.connect_read_pipe(lambda: self, io.FileIO(read, "rb"))
        except BaseException:
            self.close()
            raise
        return self

    def no_more_programs(self) -> None:
        """Give up `fd`, so that the end of the last program is the end of this."""
        if self.fd != -1:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Close both ends; closing twice is no error."""
        self.no_more_programs()
        if self._pipe is not None:
            self._pipe.close()

    @property
    def text(self) -> str:
        """The last it was given."""
        return self._tail.decode("utf-8", "replace")

    def last_lines(self) -> str:
        """Return the last few lines as one."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return " | ".join(lines[-6:])

    async def find(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Return the first match, or None when everything that writes has ended without."""
        while True:
            self._arrived.clear()
            found = pattern.search(self._tail)
            if found is not None or self._is_over:
                return found
            await self._arrived.wait()

    def data_received(self, data: bytes) -> None:
        self._tail += data
        del self._tail[: max(0, len(self._tail) - _KEPT)]
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._arrived.set()
