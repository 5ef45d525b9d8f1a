"""Watch how much a folder holds, and say when it is more than it may.

A quota of the file system would be exact, but few file systems offer one; this looks now and then,
stops counting once it knows, and never blocks the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hud.sandbox import files
from hud.sandbox.room import entries_of, make_room
from hud.sandbox.spec import Limits

if TYPE_CHECKING:
    from hud.sandbox.sandbox import Sandbox

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
# Looking may take this share of the time at most.
_SHARE = 0.05
# For the files that cleaning up itself may need.
_SLACK = 1.01
_MOST_FILES = 20_000_000


Exceeded = Callable[[str], Awaitable[None]]


def watches_of(
    sandbox: Sandbox, exceeded: Exceeded, *, what: str = "the workspace", accepts_held: bool = False
) -> list[Watch]:
    """Return what keeps a sandbox that was started to its limits of disk, to be started itself.

    That is its root, and a home that lies on the disk because there are no namespaces; it may hold
    as much as it could where it is memory.

    Args:
        what: What messages call the root.
        accepts_held: Whether what is there already may stay.
    """
    limits, found = sandbox.spec.limits, list[Watch]()
    root = sandbox.spec.root
    if root is not None and (limits.disk_mb is not None or limits.disk_files is not None):
        found.append(Watch(lambda: root, limits, exceeded, what=what, accepts_held=accepts_held))
    if sandbox.isolation == "uid" and limits.memory_mb is not None:
        home = replace(limits, disk_mb=limits.memory_mb)
        place = lambda: Path(sandbox.home) if sandbox.is_running else None  # noqa: E731
        found.append(Watch(place, home, exceeded, what="the home folder"))
    return found


class Quota:
    """Keep a sandbox whose agent has no shell to its limits of disk: end what runs, make room.

    Whatever is there at its start stays; of what came later the newest goes. `aclose` it.
    """

    def __init__(
        self, sandbox: Sandbox, exceeded: Callable[[str], Awaitable[None]], *, what: str
    ) -> None:
        """Prepare it for a sandbox that was started.

        Args:
            exceeded: Ends everything that runs in the sandbox.
            what: What messages call the sandbox's root.
        """
        self._sandbox = sandbox
        self._end = exceeded
        self._watches = watches_of(sandbox, self._full, what=what, accepts_held=True)
        self._kept = {folder: entries_of(folder) for folder in self._folders()}

    def start(self) -> None:
        for watch in self._watches:
            watch.start()

    async def aclose(self) -> None:
        for watch in self._watches:
            await watch.aclose()

    def _folders(self) -> dict[Path, int | None]:
        """Return what may hold how many bytes."""
        sandbox, limits = self._sandbox, self._sandbox.spec.limits
        found: dict[Path, int | None] = {}
        if sandbox.spec.root is not None:
            found[sandbox.spec.root] = None if limits.disk_mb is None else limits.disk_mb << 20
        if sandbox.isolation == "uid" and limits.memory_mb is not None:
            found[Path(sandbox.home)] = limits.memory_mb << 20
        return found

    async def _full(self, reason: str) -> None:
        await self._end(reason)
        most = self._sandbox.spec.limits.disk_files
        for folder, size in self._folders().items():
            keep = self._kept.get(folder, frozenset())
            removed = await asyncio.to_thread(
                make_room, folder, keep=keep, max_files=most, max_bytes=size
            )
            if removed:
                logger.warning("removed to make room: %s", ", ".join(removed[:10]))


class Watch:
    """Look at a folder's size while things run in it. `aclose` it."""

    def __init__(
        self,
        root: Callable[[], Path | None],
        limits: Limits,
        exceeded: Exceeded,
        *,
        what: str = "the workspace",
        accepts_held: bool = False,
    ) -> None:
        """Prepare it.

        Args:
            root: Says which folder; none for now when it returns None.
            limits: Of which `disk_mb` and `disk_files` count.
            exceeded: Called with a sentence for people whenever there is more.
            what: What that sentence calls the folder.
            accepts_held: Whether what is there at the start may stay.
        """
        self._root = root
        self._what = what
        self._accepts_held = accepts_held
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
        if self._accepts_held:
            allowed_files, allowed_bytes = await self._held()
        pause = INTERVAL_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._look.wait()
            self._look.clear()
            began = loop.time()
            usage = await self._usage(allowed_files, allowed_bytes)
            if usage is not None and usage.exceeded:
                await self._exceeded(
                    f"{self._what} holds more than its limit of "
                    f"{self._bytes and self._bytes >> 20} MB or {self._files} files"
                )
                if allowed_files == self._files and allowed_bytes == self._bytes:
                    # What is there now may stay, so that the agent can clean up; no more.
                    allowed_files, allowed_bytes = await self._held()
            elif usage is not None and self._is_within(usage):
                allowed_files, allowed_bytes = self._files, self._bytes
            pause = max(INTERVAL_S, (loop.time() - began) / _SHARE)
            await asyncio.sleep(min(pause, INTERVAL_S))

    async def _usage(self, most_files: int | None, most_bytes: int | None) -> files.Usage | None:
        root = self._root()
        if root is None:
            return None
        try:
            return await asyncio.to_thread(
                files.usage, root, max_files=most_files, max_bytes=most_bytes
            )
        except OSError as error:
            logger.warning("cannot look at the size of %s: %s", root, error)
            return None

    async def _held(self) -> tuple[int | None, int | None]:
        """Return the limits, raised to what is there now."""
        held = await self._usage(self._files, self._bytes)
        if held is not None and held.exceeded:
            held = await self._usage(_MOST_FILES, None)
        if held is None or self._is_within(held):
            return self._files, self._bytes
        return _raised(self._files, held.files), _raised(self._bytes, held.bytes)

    def _is_within(self, usage: files.Usage) -> bool:
        few = self._files is None or usage.files <= self._files
        return few and (self._bytes is None or usage.bytes <= self._bytes)


def _raised(limit: int | None, held: int) -> int | None:
    return None if limit is None else int(max(limit, held) * _SLACK)
