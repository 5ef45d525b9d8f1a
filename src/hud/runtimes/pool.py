"""Places started ahead of need, for any provider: acquiring takes one, leaving is off the path.

Every place is still used once. It is entered and left in a task of its own, since a provider may
count on both happening in the same one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable

from hud.environment.task import Task
from hud.runtimes.base import Provider, Runtime

logger = logging.getLogger(__name__)


class Warm:
    """Keep up to `width` places of another provider ready, for each kind of ask that came.

    The first acquire of a kind waits for its own place; meanwhile others of that kind are made.
    `aclose` leaves all of them; afterwards it can be used again.

    Args:
        inner: Makes the places.
        width: How many are kept ready.
        key: What tasks must agree in to be given each other's places.
    """

    def __init__(self, inner: Provider, width: int, *, key: Callable[[Task], str]) -> None:
        if width < 1:
            raise ValueError(f"Warm: width must be at least 1, not {width}")
        self.width = width
        self._inner = inner
        self._key = key
        self._ready: dict[str, deque[_Kept]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        kept = self._take(task)
        try:
            yield await kept.entered()
        finally:
            kept.release.set()
            if not kept.was_ready:
                # A place that failed is gone when its error is told.
                await asyncio.wait([kept.work]) if kept.work.done() else None

    async def fill(self, task: Task) -> None:
        """Return once `width` places for such tasks are ready, or have failed."""
        self._refill(task)
        held = self._ready.get(self._key(task), ())
        await asyncio.gather(*(kept.settled() for kept in held))

    async def aclose(self) -> None:
        """Leave every place, and wait until all are left."""
        for held in self._ready.values():
            for kept in held:
                kept.release.set()
                kept.work.cancel()
        self._ready.clear()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _take(self, task: Task) -> _Kept:
        held = self._ready.setdefault(self._key(task), deque())
        kept: _Kept | None = None
        while held and kept is None:
            kept = held.popleft()
            if not kept.is_usable:
                kept.release.set()
                kept = None
        if kept is None:
            kept = self._make(task)
        self._refill(task)
        return kept

    def _refill(self, task: Task) -> None:
        held = self._ready.setdefault(self._key(task), deque())
        while len(held) < self.width:
            held.append(self._make(task))

    def _make(self, task: Task) -> _Kept:
        kept = _Kept(self._inner, task)
        self._tasks.add(kept.work)
        kept.work.add_done_callback(self._tasks.discard)
        return kept


class _Kept:
    """One place in the care of a task of its own, until `release` is set."""

    def __init__(self, inner: Provider, task: Task) -> None:
        loop = asyncio.get_running_loop()
        self.release = asyncio.Event()
        self._place: asyncio.Future[Runtime] = loop.create_future()
        self.work = loop.create_task(self._keep(inner, task))

    @property
    def was_ready(self) -> bool:
        return self._place.done() and not self._place.cancelled() and not self._place.exception()

    @property
    def is_usable(self) -> bool:
        """Whether it is being made, or is there and has not ended."""
        if not self._place.done():
            return True
        if not self.was_ready:
            return False
        reason = self._place.result().params.get("exit_reason")
        return not (callable(reason) and reason())

    async def entered(self) -> Runtime:
        """Return the place; whoever is cancelled meanwhile gives it up, and it is torn down."""
        try:
            return await asyncio.shield(self._place)
        except asyncio.CancelledError:
            self.work.cancel()
            await asyncio.wait([self.work])
            raise

    async def settled(self) -> None:
        """Return once it is there or has failed."""
        await asyncio.wait([self._place])

    async def _keep(self, inner: Provider, task: Task) -> None:
        try:
            async with inner(task) as place:
                self._place.set_result(place)
                await self.release.wait()
        except asyncio.CancelledError:
            if not self._place.done():
                self._place.cancel()
        except Exception as error:
            if self._place.done():
                logger.warning("tearing a warm place down failed: %r", error)
            else:
                self._place.set_exception(error)
                self._place.exception()  # nobody may ever ask for it
