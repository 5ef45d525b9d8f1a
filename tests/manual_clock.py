"""A clock that stands still until a test moves it, or until nothing else can happen."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
_ROUNDS = 30
_ROUNDS_WITHOUT_TIMER = 1000


@dataclass(order=True)
class ManualTimer:
    due: float
    number: int
    callback: Callable[[], object] = field(compare=False)
    is_cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualClock:
    def __init__(self) -> None:
        self.time = 1000.0
        self._timers: list[ManualTimer] = []
        self._number = 0

    def now(self) -> float:
        return self.time

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> ManualTimer:
        self._number += 1
        timer = ManualTimer(self.time + delay_s, self._number, callback)
        heapq.heappush(self._timers, timer)
        return timer

    @property
    def armed(self) -> int:
        return sum(not timer.is_cancelled for timer in self._timers)

    async def advance(self, seconds: float) -> None:
        """Let time pass, stopping wherever something is due."""
        end = self.time + seconds
        await settle()
        while self._timers and self._timers[0].due <= end:
            self._fire()
            await settle()
        self.time = end

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` gives, jumping to the next timer whenever all wait for one."""
        task = asyncio.ensure_future(work)
        idle = 0
        try:
            while True:
                await settle()
                if task.done():
                    return task.result()
                if self._timers:
                    self._fire()
                idle = 0 if self._timers else idle + 1
                assert idle < _ROUNDS_WITHOUT_TIMER, "all wait, but for no timer"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _fire(self) -> None:
        timer = heapq.heappop(self._timers)
        self.time = max(self.time, timer.due)
        if not timer.is_cancelled:
            timer.callback()


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
