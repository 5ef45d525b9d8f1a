"""Run many rollouts: a bounded number at once, retried where that is fair, stoppable.

What one rollout does is `rollout`; which rollouts there are is decided by the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hud._core.outcome import RETRYABLE
from hud.agents.run import Run
from hud.environment.task import Task
from hud.eval.holding import Interruption, outlast
from hud.eval.job import Job
from hud.eval.rollout import Plan, carry_out, new_run

logger = logging.getLogger(__name__)

DEFAULT_CONCURRENCY = 100
STOP_GRACE_S = 10.0
_MAX_BACKOFF_S = 60.0


@dataclass(frozen=True, slots=True)
class Slot:
    """One member of one task's group: what a job owes a grade for."""

    task: Task
    member: int
    group_id: str
    attempt: int = 1


class Observer(Protocol):
    """Told of progress, from the event loop; must return at once.

    A run is reported as ended once it is durable. One that `will_retry` is not tried again after
    all when the job is stopped first.
    """

    def started(self, run: Run) -> None: ...
    def ended(self, run: Run, *, will_retry: bool) -> None: ...


class Stop:
    """A request to end a job early.

    The first `request` starts nothing new and gives running rollouts `grace_s` seconds; the
    second cancels them at once. Safe to call from a signal handler of the loop.

    Attributes:
        reason: The sentence that says that the job's budget is used up, once it is.
    """

    def __init__(self, grace_s: float = STOP_GRACE_S) -> None:
        self.grace_s = grace_s
        self.requests = 0
        self.draining = asyncio.Event()
        self.aborting = asyncio.Event()
        self.reason: str | None = None
        self._followers: list[Stop] = []
        self._reins: Sequence[Interruption] = ()

    def request(self) -> None:
        self.requests += 1
        if self.draining.is_set():
            self.aborting.set()
        self.draining.set()
        for follower in self._followers:
            follower.request()

    @contextlib.contextmanager
    def followed(self) -> Generator[Stop]:
        """Yield one for a single job: whoever stops this one stops that one too."""
        follower = Stop(self.grace_s)
        for _ in range(self.requests):
            follower.request()
        self._followers.append(follower)
        try:
            yield follower
        finally:
            self._followers.remove(follower)

    def exhaust(self, reason: str) -> None:
        """Start nothing new, and cancel what still needs its agent once it waits for something.

        What is being graded gets `grace_s` seconds.
        """
        self.reason = reason
        self.draining.set()
        # Later, so that an agent whose last turn this was gets as far as being graded.
        asyncio.get_running_loop().call_soon(self._cut, reason)

    def _cut(self, reason: str) -> None:
        for rein in self._reins:
            rein.cut(reason)

    @contextlib.contextmanager
    def holding(self, reins: Sequence[Interruption]) -> Generator[None]:
        """Say which rollouts `exhaust` is to cancel while the block runs."""
        self._reins = reins
        try:
            yield
        finally:
            self._reins = ()


@dataclass(frozen=True, slots=True)
class Options:
    """How to run a job's slots.

    Attributes:
        max_concurrent: Rollouts at once; None is 100.
        retries: Further attempts at a run whose ungraded outcome may pass by itself.
        backoff_s: Pause before the first retry; it doubles each time, with jitter.

    Raises:
        ValueError: when a number is out of its range.
    """

    max_concurrent: int | None = None
    retries: int = 0
    backoff_s: float = 1.0
    observer: Observer | None = None
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        if self.max_concurrent is not None and self.max_concurrent < 1:
            raise ValueError(f"max_concurrent must be at least 1, not {self.max_concurrent}")
        if self.retries < 0:
            raise ValueError(f"retries must be at least 0, not {self.retries}")
        if not 0 <= self.backoff_s < math.inf:
            raise ValueError(f"backoff_s must be seconds, not {self.backoff_s}")


async def run_slots(
    job: Job, slots: Sequence[Slot], plan_for: Callable[[Task], Plan], options: Options
) -> bool:
    """Run every slot to its last attempt, adding runs to `job` as they end.

    Returns early, with what is graded kept, when `options.stop` is requested or exhausted; tells
    whether every slot was run to its end. Cancelling this cancels the running rollouts; each is
    recorded as cancelled before it is passed on.

    Raises:
        StoreError: when the record cannot be kept; running rollouts are then cancelled.
    """
    queue = deque(slots)
    stop = options.stop
    limit = options.max_concurrent or DEFAULT_CONCURRENCY

    async def work(rein: Interruption) -> None:
        while queue and not stop.draining.is_set():
            await _run_slot(job, queue.popleft(), plan_for, options, rein)

    reins = [Interruption() for _ in range(min(limit, len(queue)))]
    workers = [rein.start(work(rein)) for rein in reins]
    if not workers:
        return True
    draining = asyncio.create_task(stop.draining.wait())
    try:
        with stop.holding(reins):
            pending = await _until(workers, draining)
            if pending:
                aborting = asyncio.create_task(stop.aborting.wait())
                try:
                    await _until(list(pending), aborting, timeout=stop.grace_s)
                finally:
                    aborting.cancel()
    finally:
        draining.cancel()
        for rein in reins:
            rein.cancel()
        await outlast(workers, reins)
    # All are looked at: an error that nobody asks for is complained of when it is collected.
    errors = [worker.exception() for worker in workers if not worker.cancelled()]
    if error := next((error for error in errors if error is not None), None):
        raise error
    was_cut = any(worker.cancelled() for worker in workers) or any(rein.was_cut for rein in reins)
    return not (queue or was_cut)


async def _until(
    workers: list[asyncio.Task[None]],
    event: asyncio.Task[object] | asyncio.Task[bool],
    *,
    timeout: float | None = None,
) -> set[asyncio.Task[None]]:
    """Wait for all workers, one that failed, the event, or the time; return who still works."""
    done_first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = len(workers)

    def finished(worker: asyncio.Task[None]) -> None:
        nonlocal left
        left -= 1
        failed = not worker.cancelled() and worker.exception() is not None
        if (left == 0 or failed) and not done_first.done():
            done_first.set_result(None)

    for worker in workers:
        worker.add_done_callback(finished)
    try:
        await asyncio.wait(
            [done_first, event], timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        done_first.cancel()
        for worker in workers:
            worker.remove_done_callback(finished)
    failed = any(w.done() and not w.cancelled() and w.exception() is not None for w in workers)
    return set() if failed else {worker for worker in workers if not worker.done()}


async def _run_slot(
    job: Job,
    slot: Slot,
    plan_for: Callable[[Task], Plan],
    options: Options,
    interruption: Interruption,
) -> None:
    plan = plan_for(slot.task)
    observer = options.observer
    for tried in range(options.retries + 1):
        run = new_run(
            slot.task,
            job_id=job.id,
            group_id=slot.group_id,
            member=slot.member,
            attempt=slot.attempt + tried,
        )
        if observer is not None:
            observer.started(run)
        try:
            await carry_out(run, plan, interruption)
        except asyncio.CancelledError:
            job.runs.append(run)
            if observer is not None:
                observer.ended(run, will_retry=False)
            raise
        again = (
            run.outcome in RETRYABLE
            and run.may_pass
            and tried < options.retries
            and not options.stop.draining.is_set()
        )
        if not again:
            job.runs.append(run)
        if observer is not None:
            observer.ended(run, will_retry=again)
        if not again:
            return
        again = False
        try:
            again = await _pause(tried, options)
        finally:
            (job.attempts if again else job.runs).append(run)
        if not again:
            return


async def _pause(tried: int, options: Options) -> bool:
    """Wait before the next attempt; False when the job is being stopped meanwhile."""
    delay = min(options.backoff_s * 2**tried, _MAX_BACKOFF_S) * random.uniform(0.5, 1.5)
    try:
        async with asyncio.timeout(delay):
            await options.stop.draining.wait()
    except TimeoutError:
        pass
    return not options.stop.draining.is_set()
