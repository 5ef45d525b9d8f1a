"""Many small writes as few transactions: what comes while one is under way goes into the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

T = TypeVar("T")
R = TypeVar("R")

_TOGETHER = 500


class Gathered(Generic[T, R]):
    """Does `work`, which blocks, with everything that was asked for meanwhile at once.

    For one event loop. `work` returns one result for each item, in order; what it raises is raised
    for each.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._work = work
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._working: asyncio.Task[None] | None = None

    async def do(self, item: T) -> R:
        """Return the result for one item, once it is done.

        Cancelling the wait does not take the item back.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            try:
                results = await run_in_threadpool(self._work, [item for item, _ in some])
            except Exception as error:
                for _, future in some:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(some, results, strict=True):
                if not future.done():
                    future.set_result(result)
