"""How fast a thread works beside what it watches: in small pieces, with rests between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

_WORK_S, _REST_S = 0.001, 0.003
_NICE = 10
_STOP_GRACE_S = 5.0


class Stopped(Exception):
    """The daemon stops while its thread looks."""


class Pace:
    """How fast the thread works: in small pieces with rests between them, unless somebody waits."""

    def __init__(self) -> None:
        self._is_stopped = False
        self._hurries = 0
        self._lock = threading.Lock()
        self._began = 0.0

    def pause(self) -> None:
        """Rest when it is time to.

        Raises:
            Stopped: when nobody wants the work any more.
        """
        if self._is_stopped:
            raise Stopped
        if self._hurries:
            return
        now = time.perf_counter()
        if now - self._began > _WORK_S:
            time.sleep(_REST_S)
            self._began = time.perf_counter()

    @contextlib.contextmanager
    def hurried(self) -> Generator[None]:
        """Have no rests while the block lasts."""
        with self._lock:
            self._hurries += 1
        try:
            yield
        finally:
            with self._lock:
                self._hurries -= 1

    def stop(self) -> None:
        """End the work at its next pause."""
        self._is_stopped = True


async def to_the_end(future: asyncio.Future[T], pace: Pace) -> T:
    """Await a thread's work; when cancelled, let it end first: nothing else may run beside it."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        with pace.hurried():
            await asyncio.wait([future], timeout=_STOP_GRACE_S)
        if future.done() and not future.cancelled():
            future.exception()
        raise


def be_nice() -> None:
    """Give this thread alone a low priority."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
