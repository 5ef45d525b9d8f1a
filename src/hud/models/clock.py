"""The time by which model calls wait, replaceable so that tests need not wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A callback that is due later."""

    def cancel(self) -> None:
        """Forget the callback."""
        ...


class Clock(Protocol):
    """Tells the time and calls back later."""

    def now(self) -> float:
        """Return seconds since some moment in the past; never goes back."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` on the running event loop once `delay_s` seconds have passed."""
        ...


class LoopClock:
    """The time of this machine and the timers of whichever event loop is running."""

    def now(self) -> float:
        return time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(delay_s, callback)


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait until `clock` is `seconds` further."""
    due: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_later(seconds, lambda: None if due.done() else due.set_result(None))
    try:
        await due
    finally:
        timer.cancel()
