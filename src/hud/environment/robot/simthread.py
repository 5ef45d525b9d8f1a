"""The one thread that touches a simulator: calls queue up for it and are answered on their loop.

Graphics contexts belong to the thread that made them, so under `serve_bridge` it is the main one.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

Job = Callable[[], None]


class SimThread:
    """Calls for a simulator, in order. `run` serves them on the thread that calls it."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Carry out calls until `end`."""
        try:
            while (job := self._jobs.get()) is not None:
                job()
        finally:
            self._ended.set()

    def start(self) -> None:
        """Run on a thread of its own, for a simulator that lives in somebody else's process."""
        self._thread = threading.Thread(target=self.run, name="robot-sim", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Have `run` return after the calls that are queued."""
        self._jobs.put(None)

    async def ended(self) -> None:
        """Wait for a thread that `start` began."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def submit(self, job: Job) -> None:
        """Queue a job that looks after its own errors and answers."""
        self._jobs.put(job)

    async def call(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return what `fn(*args, **kwargs)` returns on the simulator's thread, or raise the same.

        Cancelling the wait does not stop a call that has begun.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            if answer.cancelled():
                return
            try:
                value = fn(*args, **kwargs)
            except BaseException as error:
                failure = error if isinstance(error, Exception) else RuntimeError(repr(error))
                post(loop, _fail, answer, failure)
            else:
                post(loop, _answer, answer, value)

        self._jobs.put(job)
        return await answer


def post(loop: asyncio.AbstractEventLoop, fn: Callable[..., None], *args: Any) -> None:
    """Call `fn` on a loop of another thread; one that has ended takes no more calls."""
    try:
        loop.call_soon_threadsafe(fn, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _answer(answer: asyncio.Future[Any], value: Any) -> None:
    if not answer.done():
        answer.set_result(value)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
