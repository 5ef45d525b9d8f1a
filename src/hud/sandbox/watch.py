"""Watch how much a folder holds, and say when it is more than it may.

A quota of the file system would be exact, but few file systems offer one; this looks now and then,
stops counting once it knows, and never blocks the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from hud.sandbox import files
from hud.sandbox.spec import Limits

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
# Looking may take this share of the time at most.
_SHARE = 0.05
# For the files that cleaning up itself may need.
_SLACK = 1.01
_MOST_FILES = 20_000_000


class Watch:
    """Look at a folder's size while things run in it. `aclose` it."""

    def __init__(
        self, root: Callable[[], Path], limits: Limits, exceeded: Callable[[str], Awaitable[None]]
    ) -> None:
        self._root = root
        self._files = limits.disk_files
        self._bytes = None if limits.disk_mb is None else limits.disk_mb << 20
        self._exceeded = exceeded
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def look(self) -> None:
        """Look soon, because something may have been written."""
        self._look.set()

    async def aclose(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        allowed_files, allowed_bytes = self._files, self._bytes
        pause = INTERVAL_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._look.wait()
            self._look.clear()
            began = loop.time()
            try:
                usage = await asyncio.to_thread(
                    files.usage, self._root(), max_files=allowed_files, max_bytes=allowed_bytes
                )
            except OSError as error:
                logger.warning("cannot look at the size of %s: %s", self._root(), error)
                usage = None
            if usage is not None and usage.exceeded:
                await self._exceeded(
                    f"the workspace holds more than its limit of "
                    f"{self._bytes and self._bytes >> 20} MB or {self._files} files"
                )
                if allowed_files == self._files and allowed_bytes == self._bytes:
                    # What is there now may stay, so that the agent can clean up; no more.
                    held = await asyncio.to_thread(
                        files.usage, self._root(), max_files=_MOST_FILES, max_bytes=None
                    )
                    allowed_files = _raised(self._files, held.files)
                    allowed_bytes = _raised(self._bytes, held.bytes)
            elif usage is not None and self._is_within(usage):
                allowed_files, allowed_bytes = self._files, self._bytes
            pause = max(INTERVAL_S, (loop.time() - began) / _SHARE)
            await asyncio.sleep(min(pause, INTERVAL_S))

    def _is_within(self, usage: files.Usage) -> bool:
        few = self._files is None or usage.files <= self._files
        return few and (self._bytes is None or usage.bytes <= self._bytes)


def _raised(limit: int | None, held: int) -> int | None:
    return None if limit is None else int(max(limit, held) * _SLACK)
