"""Who is told live when something was recorded: one watch on the store, fanned out to listeners.

A listener hears what changed, not what it is now: it reads that itself, when it gets round to it.
So a slow one costs no memory; what it missed in detail it hears of as "read again".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Generator

from hud._core.errors import StoreError
from hud.platform.errors import ApiError
from hud.store import Change, Store

logger = logging.getLogger(__name__)

LISTENERS_AT_MOST = 1_000
_PENDING_AT_MOST = 256
_LOOK_AGAIN_S = 1.0


class Listener:
    """What one stream has not looked at yet. For one event loop.

    Attributes:
        is_over: There will be nothing more: the server ends.
        runs: Runs that changed.
        jobs: Jobs of which something changed.
        anything: Anything may have changed.
        missed: More changed than was kept in mind.
    """

    def __init__(self, team: str, job_id: str | None, run_id: str | None) -> None:
        self._team, self._job_id, self._run_id = team, job_id, run_id
        self._arrived = asyncio.Event()
        self.is_over = False
        self.take()

    def tell(self, change: Change) -> None:
        """Take in that something changed, if this listener cares."""
        if change.team not in (None, self._team):
            return
        if change.job_id is None and change.run_id is None:
            self.anything = True
        elif not self._is_about_it(change):
            return
        else:
            if change.job_id is not None:
                self.jobs.add(change.job_id)
            if change.run_id is not None:
                self.runs.add(change.run_id)
            if len(self.jobs) + len(self.runs) > _PENDING_AT_MOST:
                self.jobs, self.runs, self.missed = set(), set(), True
        self._arrived.set()

    def _is_about_it(self, change: Change) -> bool:
        if self._run_id is not None:
            return change.run_id == self._run_id
        if self._job_id is not None:
            return change.job_id == self._job_id
        return change.job_id is not None

    def end(self) -> None:
        """Take in that there will be nothing more."""
        self.is_over = True
        self._arrived.set()

    def take(self) -> None:
        """Begin anew: everything heard so far is about to be looked at."""
        self.runs: set[str] = set()
        self.jobs: set[str] = set()
        self.anything = self.missed = False
        self._arrived.clear()

    async def wait(self, timeout_s: float) -> bool:
        """Return whether something was heard within `timeout_s`."""
        if self.is_over:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
            return True
        return False


class Live:
    """All listeners of one server. The store stays its owner's to close."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: set[Listener] = set()
        self._wanted = asyncio.Event()
        self._watching = asyncio.Event()
        self._is_over = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Watch the store while the block runs and somebody listens."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self.end()
            watching.cancel()
            await asyncio.wait([watching])

    def end(self) -> None:
        """Tell every listener that there will be nothing more."""
        self._is_over = True
        for listener in self._listeners:
            listener.end()

    @contextlib.contextmanager
    def listening(
        self, team: str, *, job_id: str | None = None, run_id: str | None = None
    ) -> Generator[Listener]:
        """Listen to a team's jobs, to one job, or to one run, while the block runs.

        Raises:
            ApiError: with status 503, when too many listen already.
        """
        if len(self._listeners) >= LISTENERS_AT_MOST:
            raise ApiError(503, "too many listen to this server", kind="busy")
        listener = Listener(team, job_id, run_id)
        if self._is_over:
            listener.end()
        self._listeners.add(listener)
        self._wanted.set()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._wanted.clear()

    async def ready(self) -> None:
        """Return once everything that is committed from now on is heard of."""
        while not self._watching.is_set() and not self._is_over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await self._watching.wait()

    async def _watch(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                async with self._store.watch() as changes:
                    async for change in changes:
                        # The first is that anything may have changed: the watch has begun.
                        self._watching.set()
                        for listener in tuple(self._listeners):
                            listener.tell(change)
                        if not self._wanted.is_set():
                            break
                    else:
                        return  # the store is closed
            except StoreError as error:
                logger.warning("changes cannot be watched: %s", error)
                await asyncio.sleep(_LOOK_AGAIN_S)
            finally:
                self._watching.clear()
