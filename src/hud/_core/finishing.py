"""Work that runs to its end, whatever becomes of whoever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def unbroken(work: Awaitable[T], *, within_s: float | None = None) -> T:
    """Run `work` to its end even when cancelled meanwhile; the cancellation is raised after it.

    Args:
        within_s: Seconds after which it is cancelled; None gives it all the time it takes.

    Raises:
        TimeoutError: when it does not end in time.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    deadline = None if within_s is None else loop.time() + within_s
    while not task.done():
        left = None if deadline is None else deadline - loop.time()
        if left is not None and left <= 0:
            task.cancel()
        try:
            await asyncio.wait([task], timeout=None if left is None else max(left, 1.0))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    if task.cancelled():
        raise TimeoutError
    return task.result()
