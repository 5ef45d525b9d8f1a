"""The daemon that follows a workspace's files: when it is looked at, and who is told.

Looking is `scan`, telling is `feed`. It never slows what it watches for long: it looks in a thread
of low priority that rests between small pieces of work, and not more often than a small share of
its time allows. Whatever fails here is told and logged, and fails nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import time
from collections.abc import AsyncGenerator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from hud._core.errors import CapabilityFault, bounded
from hud.environment.daemon import Daemon
from hud.environment.filetracking.feed import Backlog, Following
from hud.environment.filetracking.pace import Pace, Stopped, be_nice, to_the_end
from hud.environment.filetracking.scan import EXCLUDED, Bounds, Scanner
from hud.protocol.capability import Capability
from hud.trace.file_steps import PROTOCOL, FileBatch, FilePhase

logger = logging.getLogger(__name__)

T = TypeVar("T")

DEBOUNCE_S = 0.1
MAX_FOLLOWERS = 16
_SHARE = 8
_LONGEST_PAUSE_S = 60.0
# Followers come through `dial`; nothing listens at an address.
_URL = "tcp://127.0.0.1:1"


class FileTracker(Daemon):
    """Follow the files of one folder and tell followers what changed, as diffs.

    Attributes:
        failure: Why the last look failed, or None.
    """

    is_exclusive = False

    def __init__(
        self,
        root: Path | Callable[[], Path],
        *,
        guest_path: str = "/workspace",
        name: str = "filetracking",
        interval: float | None = None,
        exclude: Collection[str] = EXCLUDED,
        bounds: Bounds | None = None,
    ) -> None:
        """Prepare to follow `root`.

        Args:
            root: The folder, or what returns it once this is started.
            guest_path: What readers know the folder as.
            interval: Seconds between two looks when nothing says that something changed; None is
                the setting `file_tracking_interval`.
            exclude: Names of folders that are not looked into.
        """
        super().__init__(name)
        self._root = root
        self._guest_path = guest_path
        self._interval = interval
        self._exclude = exclude
        self._bounds = bounds
        self._pace = Pace()
        self._scanner: Scanner | None = None
        self._backlog = Backlog()
        self._executor: ThreadPoolExecutor | None = None
        self._watching: asyncio.Task[None] | None = None
        self._followers: set[asyncio.Task[None]] = set()
        self._looking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._phase: FilePhase = "setup"
        self._is_frozen = False
        self.failure: str | None = None

    async def start(self) -> None:
        if self._executor is not None:
            return
        interval = self._interval
        if interval is None:
            from hud._core.settings import get_settings

            interval = get_settings().file_tracking_interval
        self._pace = Pace()
        self._backlog = Backlog()
        self._looking, self._wake = asyncio.Lock(), asyncio.Event()
        self._phase, self._is_frozen, self.failure = "setup", False, None
        self._executor = ThreadPoolExecutor(1, "hud-files", initializer=be_nice)
        try:
            await self._begin()
            self._watching = asyncio.create_task(self._watch(interval))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        executor, self._executor = self._executor, None
        tasks = [*self._followers]
        if self._watching is not None:
            tasks.append(self._watching)
            self._watching = None
        self._pace.stop()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if executor is not None:
            executor.shutdown(wait=False)
        self._scanner = None

    def capability(self) -> Capability:
        return Capability(self.name, PROTOCOL, _URL, {"guest_path": self._guest_path})

    async def dial(self) -> socket.socket | None:
        """Return a new follower's end of a connection.

        Raises:
            CapabilityFault: when it is not started, or has too many followers.
        """
        if self._executor is None:
            raise CapabilityFault(f"file tracking {self.name!r} is not started")
        if len(self._followers) >= MAX_FOLLOWERS:
            raise CapabilityFault(f"file tracking {self.name!r} has {MAX_FOLLOWERS} followers")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        task = asyncio.create_task(Following(self._backlog, self.flush).serve(ours))
        self._followers.add(task)
        task.add_done_callback(functools.partial(self._unfollowed, ours))
        return theirs

    def changed(self) -> None:
        """Look soon, because something may have been written; cheap, and may be called often."""
        self._wake.set()

    async def flush(self) -> None:
        """Look now, unless the episode has ended; return once followers can be told."""
        if not self._is_frozen:
            await self._look()

    async def begin_episode(self) -> None:
        self._backlog.begin_episode()
        self._phase, self._is_frozen, self.failure = "setup", False, None
        await self._begin()

    async def hand_over(self) -> None:
        await self._look()
        self._phase = "agent"

    async def end_episode(self) -> None:
        """Look for the last time before the next episode; again is another last time."""
        await self._look()
        self._is_frozen = True

    async def _begin(self) -> None:
        def begin() -> None:
            if self._scanner is None:
                root = self._root if isinstance(self._root, Path) else self._root()
                self._scanner = Scanner(
                    root,
                    shown_root=self._guest_path,
                    exclude=self._exclude,
                    bounds=self._bounds,
                    pause=self._pace.pause,
                )
            self._scanner.begin()

        async with self._hurried():
            await self._run(begin)

    async def _look(self) -> None:
        async with self._hurried():
            await self._look_once()

    @contextlib.asynccontextmanager
    async def _hurried(self) -> AsyncGenerator[None]:
        """Have the looking to oneself, and let whatever look goes on end soon."""
        with self._pace.hurried():
            async with self._looking:
                yield

    async def _look_once(self) -> None:
        scanner = self._scanner
        if scanner is None:
            return
        phase = self._phase
        batch = await self._run(lambda: _encodable(scanner.look(phase)))
        if batch is not None:
            self._backlog.add({"batch": batch})

    async def _run(self, work: Callable[[], T]) -> T | None:
        """Do `work` in the thread; what fails there is told, once."""
        executor = self._executor
        if executor is None:
            return None
        try:
            future = asyncio.get_running_loop().run_in_executor(executor, work)
            result = await to_the_end(future, self._pace)
        except Stopped:
            return None
        except Exception as error:
            self._failed(f"{type(error).__name__}: {error}")
            return None
        self.failure = None
        return result

    def _failed(self, reason: str) -> None:
        reason = bounded(reason, 500)
        if reason != self.failure:
            logger.warning("files of %s cannot be followed: %s", self._guest_path, reason)
            self._backlog.add({"failed": reason})
        self.failure = reason

    async def _watch(self, interval: float) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._wake.wait()
            # Commands come in bursts: one look is enough for all that end meanwhile.
            await asyncio.sleep(DEBOUNCE_S)
            self._wake.clear()
            if self._is_frozen:
                continue
            began = time.perf_counter()
            async with self._looking:
                if not self._is_frozen:
                    await self._look_once()
            took = time.perf_counter() - began
            await asyncio.sleep(min(took * _SHARE, _LONGEST_PAUSE_S))

    def _unfollowed(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._followers.discard(task)
        sock.close()  # of a task that was cancelled before it began
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("a follower of files failed: %s", bounded(error))


def _encodable(batch: FileBatch | None) -> dict[str, object] | None:
    return None if batch is None else batch.model_dump(mode="json", exclude_none=True)
