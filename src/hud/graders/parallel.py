"""Await several scores at once; the first failure cancels the others and is raised itself.

Owns no scoring: what the awaited things mean is their callers' business.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from hud._core.errors import GraderFault

T = TypeVar("T")


async def all_of(awaitables: Sequence[Awaitable[T]]) -> list[T]:
    """Return every result, in the order given, all awaited in parallel.

    Cancelling the caller cancels them all.

    Raises:
        BaseException: the first failure, as it was raised, once the others have stopped.
        GraderFault: when one of them was cancelled from elsewhere, so there is no score.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_result(awaitable)) for awaitable in awaitables]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    for position, task in enumerate(tasks):
        if task.cancelled():
            raise GraderFault(f"grader {position + 1} of {len(tasks)} was cancelled")
    return [task.result() for task in tasks]


def discard(things: Sequence[object]) -> None:
    """Give up what will not be awaited, so that Python does not warn about forgotten coroutines."""
    for thing in things:
        if inspect.iscoroutine(thing):
            thing.close()


async def _result(awaitable: Awaitable[T]) -> T:
    return await awaitable
