"""Writing a build's log while it is built: in batches, cleaned of secrets, within a limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from hud.platform.builds.lines import LINE_AT_MOST, LINES_AT_MOST, append_lines
from hud.platform.builds.records import BuildRecord
from hud.platform.builds.secrecy import Secrecy
from hud.platform.database import Database, now_us

_TOGETHER_S = 0.05
_PENDING_AT_MOST = 4 * LINES_AT_MOST


class BuildLog:
    """The log of one build that runs in this process. `say` is for the event loop's thread.

    Args:
        told: Called in the event loop whenever lines were kept.
    """

    def __init__(
        self, database: Database, record: BuildRecord, secrecy: Secrecy, told: Callable[[], None]
    ) -> None:
        self._database, self._record = database, record
        self._secrecy, self._told = secrecy, told
        self._pending: list[tuple[int, str]] = []
        self._arrived = asyncio.Event()
        self._kept = 0
        self._dropped = 0

    def say(self, text: str) -> None:
        """Add a line."""
        if len(self._pending) >= _PENDING_AT_MOST:
            self._dropped += 1
            return
        self._pending.append((now_us(), text))
        self._arrived.set()

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncGenerator[None]:
        """Keep what is said while the block runs; everything is kept when it has ended."""
        writer = asyncio.create_task(self._write_on())
        try:
            yield
        finally:
            writer.cancel()
            await asyncio.wait([writer])
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Keep what was said so far."""
        lines, self._pending = self._pending, []
        self._arrived.clear()
        room = LINES_AT_MOST - self._kept
        if len(lines) > room:
            self._dropped += len(lines) - room
            lines = lines[:room]
        if self._dropped and room > 0 and self._kept + len(lines) == LINES_AT_MOST:
            lines[-1] = (now_us(), f"… a log has at most {LINES_AT_MOST:,} lines; the rest is cut")
        if lines:
            self._kept = await asyncio.to_thread(self._keep, lines)
            self._told()

    async def _write_on(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(_TOGETHER_S)
            # Cancelled in the middle of it, what is being kept stays kept.
            await asyncio.shield(self.flush())

    def _keep(self, lines: list[tuple[int, str]]) -> int:
        # What cannot be stored as text, and what would let a line pass for several.
        clean = [(at, self._clean(text)) for at, text in lines]
        with self._database.writing() as connection:
            return append_lines(connection, self._record.team, self._record.id, clean)

    def _clean(self, text: str) -> str:
        plain = "".join(each if each.isprintable() or each == "\t" else " " for each in text)
        return self._secrecy.clean(plain)[:LINE_AT_MOST]
