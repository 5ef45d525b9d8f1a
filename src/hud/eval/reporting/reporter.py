"""The thread that reports beside an eval: what is new goes out, what fails is tried again.

It lives while a job of this process is under way or something is new, and takes nothing from the
rollouts but a note per event. Whatever becomes of it, the local store has everything, and the
file of what was sent says where the next process, or `hud push`, goes on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hud._core.errors import HudError, NotFound, StoreError
from hud.eval import cancelling
from hud.eval.reporting.backlog import Backlog, Unsent
from hud.eval.reporting.sent import Sent, SentLog
from hud.store import Store, every_run, job_holder, open_store
from hud.trace.sinks import Event

if TYPE_CHECKING:
    from hud.api.place import PlatformPlace
    from hud.api.replies import Heard
    from hud.eval.reporting.delivery import Delivery

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Runs whose reports are on their way at once."""
SIGN_OF_LIFE_S = 5.0
"""After how long of silence a job under way lets the platform know that it is."""
FAREWELL_S = 5.0
"""How long the end of a job waits for what is on its way."""
_JOIN_S = 1.0
_IDLE_S = 0.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_SWEPT_AT_ONCE = 200
_SAID_AT_MOST = 5
_REASON = "cancelled on the platform"


@dataclass(frozen=True, slots=True)
class _Waiter:
    """Somebody who waits until a job has arrived; with `for_all`, every job."""

    job_id: str | None
    for_all: bool
    future: concurrent.futures.Future[None]


class Reporter:
    """Reports what is recorded in one store to one platform; usable from any thread.

    Attributes:
        halted: Why nothing is reported any more in this process; None while it is.
        is_down: Whether the platform could not be reached last.
    """

    def __init__(self, place: PlatformPlace, home: Path) -> None:
        self.place = place
        self.home = home
        self.halted: HudError | None = None
        self.is_down = False
        self._backlog = Backlog(self._rouse)
        self._log = SentLog(home, place.identity, place.api_url.lower())
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last_thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = self._room = asyncio.Event()
        self._holds: Counter[str] = Counter()
        self._waiters: list[_Waiter] = []
        self._sweeps: deque[str] = deque()
        self._is_ending = False
        # What follows belongs to the thread.
        self._heard_at: dict[str, float] = {}
        self._cancelled: set[str] = set()
        self._pause_s = _FIRST_PAUSE_S
        self._down_until = 0.0
        self._busy = 0
        self._refusals = 0

    def put(self, event: Event) -> None:
        """Take note of what a run did."""
        if self.halted is None:
            self._backlog.put(event)

    def hold(self, job_id: str) -> None:
        """Report a job from now on, what there is of it already included."""
        self._log.begin_job(job_id)
        with self._lock:
            self._holds[job_id] += 1
            self._sweeps.append(job_id)
        self._rouse()

    async def leave(self, job_id: str, timeout_s: float) -> Unsent:
        """Wait until a job has arrived, for a few seconds at most, and return what has not.

        A platform that is down is tried once more and not waited for. With the last job the
        thread ends.
        """
        with self._lock:
            self._holds[job_id] -= 1
            if self._holds[job_id] <= 0:
                del self._holds[job_id]
            is_last = not self._holds
        try:
            future = self._when_arrived(job_id, for_all=is_last)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await asyncio.wrap_future(future)
        finally:
            unsent = self._backlog.unsent(job_id)
            if is_last:
                self._end()
        return unsent

    def unsent(self) -> Unsent:
        """Return what this process recorded and the platform has not got yet."""
        return self._backlog.unsent()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything so far has arrived; return whether it has."""
        future = self._when_arrived(None, for_all=True)
        with contextlib.suppress(concurrent.futures.TimeoutError):
            future.result(timeout_s)
        future.cancel()
        return self.halted is None and not self._backlog.open_runs()

    def end(self, timeout_s: float) -> None:
        """Wait as `flush`, then end the thread, whoever holds a job; safe to call twice."""
        if self._thread is not None:
            self.flush(timeout_s)
            with self._lock:
                self._holds.clear()
            self._end()
        self._log.close()

    def _when_arrived(
        self, job_id: str | None, *, for_all: bool
    ) -> concurrent.futures.Future[None]:
        waiter = _Waiter(job_id, for_all, concurrent.futures.Future())
        with self._lock:
            is_over = self.halted is not None
            if not is_over:
                self._waiters.append(waiter)
        if is_over:
            waiter.future.set_result(None)
        else:
            self._rouse()
        return waiter.future

    def _end(self) -> None:
        with self._lock:
            thread, loop = self._thread or self._last_thread, self._loop
            if self._holds or thread is None:
                return
            self._is_ending = self._thread is not None
            if loop is not None:
                loop.call_soon_threadsafe(self._wake.set)
        thread.join(_JOIN_S)

    def _rouse(self) -> None:
        with self._lock:
            if self._thread is None and self.halted is None:
                self._is_ending = False
                self._thread = threading.Thread(target=self._run, name="hud-reporter", daemon=True)
                self._thread.start()
            elif self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake.set)

    # -- the thread's side ------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                asyncio.run(self._main())
            except Exception as error:
                self._halt(error)
            with self._lock:
                self._loop = None
                waiters, self._waiters = self._waiters, []
                goes_on = self.halted is None and bool(self._holds)
                self._is_ending = False
                if not goes_on:
                    self._last_thread, self._thread = self._thread, None
            for waiter in waiters:
                _resolve(waiter)
            if not goes_on:
                return

    async def _main(self) -> None:
        from hud.api.client import PlatformClient
        from hud.api.exchange import Patience
        from hud.eval.reporting.delivery import Delivery

        self._wake, self._room, self._busy = asyncio.Event(), asyncio.Event(), 0
        with self._lock:
            self._loop = asyncio.get_running_loop()
        store = open_store(self.home, create=False)
        try:
            async with PlatformClient(
                self.place, patience=Patience((), ()), connections=AT_ONCE
            ) as client:
                delivery = Delivery(client, store, self._log, self._on_heard)
                for job_id in self._log.open_jobs():
                    is_known = job_id in self._holds or job_id in self._sweeps
                    if not is_known and job_holder(self.home, job_id) is None:
                        self._sweeps.append(job_id)
                async with asyncio.TaskGroup() as group:
                    for task in await self._dispatch(group, delivery, store):
                        task.cancel()
        finally:
            store.close()

    async def _dispatch(
        self, group: asyncio.TaskGroup, delivery: Delivery, store: Store
    ) -> set[asyncio.Task[None]]:
        """Send what is due until there is no reason to go on; return what is on its way."""
        tasks: set[asyncio.Task[None]] = set()
        sweeping: asyncio.Task[None] | None = None
        while True:
            self._settle()
            if self.halted is not None or self._is_ending:
                return tasks
            if self._sweeps and (sweeping is None or sweeping.done()) and not self.is_down:
                sweeping = group.create_task(self._sweep(store))
                tasks.add(sweeping)
            is_urgent = bool(self._waiters)
            wait_s = self._wait_s(is_urgent=is_urgent)
            if not self._wake.is_set() and wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                if not self._wake.is_set() and self._has_nothing_to_do():
                    return tasks
            self._wake.clear()
            now = time.monotonic()
            if self.is_down and now < self._down_until and not is_urgent:
                continue
            room = (1 if self.is_down else AT_ONCE) - self._busy
            for run_id, debug in self._backlog.take(room, at_once=is_urgent):
                tasks.add(self._start(group, delivery, run_id, debug))
            for run_id, job_id in self._silent_runs(now):
                tasks.add(group.create_task(self._live(delivery, run_id, job_id)))
            tasks = {task for task in tasks if not task.done()}

    def _start(
        self, group: asyncio.TaskGroup, delivery: Delivery, run_id: str, debug: Sequence[bytes]
    ) -> asyncio.Task[None]:
        self._busy += 1

        def ended(task: asyncio.Task[None]) -> None:
            self._busy -= 1
            if task.cancelled() or task.exception() is not None:
                # It may not even have begun.
                self._backlog.failed(run_id, debug, again=True)
            self._wake.set()
            self._room.set()

        task = group.create_task(self._deliver(delivery, run_id, debug))
        task.add_done_callback(ended)
        return task

    def _wait_s(self, *, is_urgent: bool) -> float:
        """Return how long there is nothing to do unless something wakes this thread."""
        now = time.monotonic()
        due = self._backlog.next_due(at_once=is_urgent)
        if self._busy >= (1 if self.is_down else AT_ONCE):
            return SIGN_OF_LIFE_S
        if due is None:
            return SIGN_OF_LIFE_S if self._holds or self._busy else _IDLE_S
        if self.is_down and not is_urgent:
            due = max(due, self._down_until)
        return min(max(due - now, 0.0), SIGN_OF_LIFE_S)

    def _has_nothing_to_do(self) -> bool:
        with self._lock:
            if self._holds or self._waiters or self._busy:
                return False
        return self.is_down or not (self._sweeps or self._backlog.open_runs())

    def _silent_runs(self, now: float) -> list[tuple[str, str]]:
        """Return a run of each job of which nothing was heard for some time."""
        found: list[tuple[str, str]] = []
        with self._lock:
            held = list(self._holds)
        for job_id in held:
            if now - self._heard_at.setdefault(job_id, now) >= SIGN_OF_LIFE_S:
                self._heard_at[job_id] = now
                run_id = self._backlog.running_in(job_id)
                if run_id is not None and not self.is_down:
                    found.append((run_id, job_id))
        return found

    async def _deliver(self, delivery: Delivery, run_id: str, debug: Sequence[bytes]) -> None:
        from hud.api.errors import PlatformError, PlatformRefused

        try:
            sent, run = await delivery.run(run_id, debug)
            self._backlog.delivered(run_id, sent)
            self._close(run.job_id)
        except NotFound:
            self._backlog.delivered(run_id, Sent())  # not in the local store yet
        except (PlatformRefused, StoreError) as error:
            self._refusals += 1
            level = logging.WARNING if self._refusals <= _SAID_AT_MOST else logging.DEBUG
            logger.log(level, "run %s is not reported: %s", run_id, error)
            self._backlog.failed(run_id, (), again=False)
        except PlatformError as error:
            self._failed(error)
            self._backlog.failed(run_id, debug, again=True)

    async def _live(self, delivery: Delivery, run_id: str, job_id: str) -> None:
        from hud.api.errors import PlatformError

        with contextlib.suppress(PlatformError):
            await delivery.sign_of_life(run_id, job_id)

    async def _sweep(self, store: Store) -> None:
        """Find what earlier parts and earlier processes did not send, a little at a time."""
        while self._sweeps:
            job_id = self._sweeps[0]
            try:
                page: list[str] = []
                for run in every_run(store, job_id):
                    page.append(run.id)
                    if len(page) >= _SWEPT_AT_ONCE:
                        await self._add(page, job_id)
                        page = []
                await self._add(page, job_id)
            except StoreError as error:
                logger.warning("job %s is not looked through: %s", job_id, error)
            self._sweeps.popleft()
            self._close(job_id)
        self._wake.set()

    async def _add(self, run_ids: list[str], job_id: str) -> None:
        arrived = self._log.ended(run_ids)
        for run_id in run_ids:
            if run_id not in arrived:
                self._backlog.add(run_id, job_id)
        self._wake.set()
        while self._backlog.open_runs() > _SWEPT_AT_ONCE:
            self._room.clear()
            await self._room.wait()

    def _close(self, job_id: str) -> None:
        """Remember that a job has arrived, once nobody works on it and nothing of it is left."""
        with self._lock:
            is_over = job_id not in self._holds and job_id not in self._sweeps
        if is_over and not self._backlog.open_runs(job_id):
            self._log.end_job(job_id)
            self._heard_at.pop(job_id, None)

    def _on_heard(self, job_id: str, heard: Heard) -> None:
        self._heard_at[job_id] = time.monotonic()
        if self.is_down:
            logger.info("the platform at %s answers again", self.place.shown)
        self.is_down = False
        self._pause_s = _FIRST_PAUSE_S
        if heard.cancel_job and job_id not in self._cancelled:
            self._cancelled.add(job_id)
            cancelling.cancel_job(job_id, _REASON)
        for run_id in heard.cancel:
            if run_id not in self._cancelled:
                self._cancelled.add(run_id)
                cancelling.cancel_run(run_id, _REASON)

    def _failed(self, error: HudError) -> None:
        from hud.api.exchange import is_final

        if is_final(error):
            self._halt(error)
            return
        now = time.monotonic()
        if not self.is_down:
            logger.info("%s; what is recorded here is sent later", error)
        if now >= self._down_until:  # not so for those that were on their way with it
            self._down_until = now + self._pause_s * random.uniform(0.5, 1.0)
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        self.is_down = True
        with self._lock:
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _resolve(waiter)

    def _halt(self, error: Exception) -> None:
        if self.halted is not None:
            return
        if isinstance(error, HudError):
            logger.warning("nothing more is reported to the platform: %s", error)
            self.halted = error
        else:
            logger.error("reporting to the platform failed", exc_info=error)
            self.halted = HudError(f"reporting failed: {type(error).__name__}")

    def _settle(self) -> None:
        """Tell those who wait for what has arrived."""
        with self._lock:
            sweeps = set(self._sweeps)
            done = [
                waiter
                for waiter in self._waiters
                if waiter.future.cancelled()
                or not (
                    self._backlog.open_runs(None if waiter.for_all else waiter.job_id)
                    or (sweeps if waiter.for_all else waiter.job_id in sweeps)
                )
            ]
            self._waiters = [waiter for waiter in self._waiters if waiter not in done]
        for waiter in done:
            if waiter.job_id is not None:
                self._close(waiter.job_id)
            _resolve(waiter)


def _resolve(waiter: _Waiter) -> None:
    if waiter.future.set_running_or_notify_cancel():
        waiter.future.set_result(None)
