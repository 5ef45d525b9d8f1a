"""A worker: takes rollouts from the queue, has its engine carry them out, and records how they end.

It lives in the server's process, or in one of its own (`hud platform worker`). What it holds is
leased: it says every few seconds that it lives, and whatever it falls silent about is another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

import msgspec
from starlette.concurrency import run_in_threadpool

from hud._core.errors import HudError, InputError, StoreError
from hud._core.outcome import RETRYABLE, Outcome
from hud.platform.builds.placing import Deployed
from hud.platform.database import Database, now_us
from hud.platform.leases.places import Places
from hud.platform.rollouts import grants
from hud.platform.rollouts.agents import needs_models
from hud.platform.rollouts.attempts import Broken, has_ended, try_again
from hud.platform.rollouts.ending import end_if_over
from hud.platform.rollouts.engine import LONGEST_S, Engine
from hud.platform.rollouts.engines import make_engine
from hud.platform.rollouts.gathering import Gathered
from hud.platform.rollouts.order import ModelGateway, Order
from hud.platform.rollouts.queue import LEASE_US, Queue
from hud.platform.rollouts.sink import OrderSink
from hud.platform.secrets import SecretBox
from hud.platform.services import Services
from hud.store import JobHeard, Store
from hud.trace.sinks import RunEnded

logger = logging.getLogger(__name__)

_HEARTBEAT_S = LEASE_US / 1e6 / 4
_LOOK_S = 1.0
_SWEEP_S = 5.0
_HEARD_S = 60.0
_GRANT_S = 3600.0
_MAX_BACKOFF_S = 60.0
_VANISHED = "the worker that ran it vanished"


@dataclass(eq=False, slots=True)
class _Work:
    """One order under way. `heard_at` is when its lease was last known to be held."""

    order: Order
    sink: OrderSink
    heard_at: float
    cancel_reason: str | None = None
    task: asyncio.Task[None] = field(init=False)


class Worker:
    """Runs rollouts of one platform. For one event loop; its engine and store are its owner's.

    Attributes:
        per_team: How many rollouts of one team may run at a time, on all workers together.
        gateway_url: Where agents ask for models; None while that is not known.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        secrets: SecretBox,
        engine: Engine,
        *,
        per_team: int = 1_000,
        gateway_url: str | None = None,
    ) -> None:
        self.per_team = per_team
        self.gateway_url = gateway_url
        self._database = database
        self._store = store
        self._secrets = secrets
        self._engine = engine
        self._queue = Queue(database)
        self._finished = Gathered(self._finish)
        self._works: dict[str, _Work] = {}
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._granted: dict[tuple[str, str, str | None], tuple[str, float]] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Work while the block runs; then end what is under way and leave it to the next worker."""
        self._loop = asyncio.get_running_loop()
        async with self._engine:
            duties = [
                asyncio.create_task(duty())
                for duty in (self._take, self._live, self._watch, self._sweep)
            ]
            try:
                yield
            finally:
                for duty in duties:
                    duty.cancel()
                await asyncio.wait(duties)
                await self._stop()

    def wake(self) -> None:
        """Look for work now; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._woken.set)

    def cancel(self, team: str, run_ids: Sequence[str], reason: str) -> None:
        """End those of the runs that this worker has; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cancel, team, frozenset(run_ids), reason)

    def _cancel(self, team: str, run_ids: frozenset[str], reason: str) -> None:
        for work in self._works.values():
            if work.order.team == team and work.order.run_id in run_ids:
                _end(work, reason)

    async def _stop(self) -> None:
        """End what is under way; it is queued again at once, unless it was graded meanwhile."""
        works = list(self._works.values())
        for work in works:
            work.task.cancel()
        if works:
            await asyncio.wait([work.task for work in works])

    # -- taking -----------------------------------------------------------------------------

    async def _take(self) -> None:
        while True:
            self._woken.clear()
            free = self._engine.width - len(self._works)
            orders: list[Order] = []
            asked_at = time.monotonic()
            if free > 0:
                try:
                    orders = await run_in_threadpool(self._claim, free)
                except StoreError as error:
                    logger.warning("the queue cannot be read: %s", error)
            for order in orders:
                self._begin(order, asked_at)
            if not orders:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._woken.wait()

    def _claim(self, free: int) -> list[Order]:
        if not self._queue.has_waiting():
            return []
        return self._queue.claim(free, per_team=self.per_team)

    def _begin(self, order: Order, asked_at: float) -> None:
        work = _Work(order, OrderSink(self._store, order), asked_at)
        self._works[order.lease] = work
        work.task = asyncio.create_task(self._carry(work))

    # -- carrying out -----------------------------------------------------------------------

    async def _carry(self, work: _Work) -> None:
        """Take one order to its end, whatever happens."""
        order = work.order
        is_ending = False
        try:
            may_pass = True
            try:
                may_pass = await self._play(work)
            except asyncio.CancelledError:
                is_ending = work.cancel_reason is None and not work.sink.is_lost
            except HudError as error:
                outcome = Outcome.AGENT if isinstance(error, InputError) else Outcome.RUNTIME
                work.sink.ended = _ending(order, outcome, error.message)
                may_pass = outcome is Outcome.RUNTIME
            except Exception as error:
                logger.exception("a rollout of %s broke its worker", order.ask.task)
                text = f"the worker failed: {type(error).__qualname__}"
                work.sink.ended = _ending(order, Outcome.RUNTIME, text)
            settling = asyncio.create_task(self._settle(work, may_pass, is_ending))
            while not settling.done():  # also while being cancelled: it counts only then
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(settling)
            settling.result()
        except StoreError as error:
            # Its lease runs out, and whoever finds it sees what is recorded.
            logger.error("run %s cannot be recorded: %s", order.run_id, error)
        finally:
            self._works.pop(order.lease, None)
            self._woken.set()

    async def _play(self, work: _Work) -> bool:
        order = work.order
        gateway = None
        if needs_models(order.ask.agent) and self.gateway_url is not None:
            gateway = ModelGateway(self.gateway_url, self._grant(order))
        return await self._engine.play(order, gateway, work.sink)

    def _grant(self, order: Order) -> str:
        """Return the key that models are asked with on behalf of whoever asked for the run."""
        who = (order.team, order.user_id, order.key_id)
        known = self._granted.get(who)
        if known is None or known[1] < time.monotonic():
            until = now_us() + int((2 * _GRANT_S + LONGEST_S) * 1e6)
            key = grants.seal(self._secrets, grants.Grant(*who, until))
            known = self._granted[who] = (key, time.monotonic() + _GRANT_S)
        return known[0]

    async def _settle(self, work: _Work, may_pass: bool, is_ending: bool) -> None:
        """Decide what becomes of an attempt that is over, and record it."""
        order, sink = work.order, work.sink
        if time.monotonic() - work.heard_at > LEASE_US / 1e6:
            sink.is_lost = True  # nobody knows whose it is; whoever it is, they record it
        if sink.is_lost:
            logger.warning("run %s was another worker's before it ended", order.run_id)
            return
        ended = sink.ended
        if ended is None:
            ended = sink.ended = _ending(order, Outcome.RUNTIME, "the worker ended")
        if work.cancel_reason is not None and ended.outcome is Outcome.CANCELLED:
            ended = sink.ended = _because(ended, work.cancel_reason)
        if ended.outcome is not Outcome.GRADED and work.cancel_reason is None:
            is_worth_it = ended.outcome in RETRYABLE and may_pass
            if is_ending or (is_worth_it and order.attempt <= order.ask.retries):
                await self._store.committed()
                await run_in_threadpool(self._try_again, order, ended, is_ending)
                return
        await sink.settle()
        await self._finished.do(order.lease)

    def _try_again(self, order: Order, ended: RunEnded, is_ending: bool) -> None:
        error = "the worker was stopped" if is_ending else ended.error or "no reason given"
        outcome = Outcome.RUNTIME if is_ending else ended.outcome
        delay_s = 0.0
        if not is_ending:
            delay_s = min(2.0 ** (order.attempt - 1), _MAX_BACKOFF_S) * random.uniform(0.5, 1.5)
        try_again(self._database, order, Broken(outcome, error), delay_s=delay_s)

    def _finish(self, leases: Sequence[str]) -> Sequence[None]:
        end_if_over(self._database, self._store, self._queue.finish(leases), "completed")
        return [None] * len(leases)

    # -- living -----------------------------------------------------------------------------

    async def _live(self) -> None:
        """Say every few seconds that this worker lives; give up what it has lost."""
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            works = list(self._works.values())
            if not works:
                continue
            asked_at = time.monotonic()
            try:
                held = await run_in_threadpool(
                    self._queue.extend, [work.order.lease for work in works]
                )
            except StoreError as error:
                logger.warning("leases cannot be kept: %s", error)
                held = set[str]()
            for work in works:
                if work.order.lease in held:
                    work.heard_at = asked_at
                elif time.monotonic() - work.heard_at > LEASE_US / 1e6:
                    work.sink.is_lost = True
                    work.task.cancel()

    async def _watch(self) -> None:
        """End what somebody at another server wants ended."""
        while True:
            await asyncio.sleep(_LOOK_S)
            leases = list(self._works)
            if not leases:
                continue
            try:
                asked = await run_in_threadpool(self._queue.cancelled, leases)
            except StoreError:
                continue  # the next look may do better
            for lease, reason in asked.items():
                if (work := self._works.get(lease)) is not None:
                    _end(work, reason)

    async def _sweep(self) -> None:
        """Take up what workers left behind, and keep the jobs of what waits alive."""
        heard = -_HEARD_S
        while True:
            try:
                await run_in_threadpool(self._take_up)
                if time.monotonic() - heard >= _HEARD_S:
                    heard = time.monotonic()
                    await run_in_threadpool(self._keep_alive)
            except StoreError as error:
                logger.warning("the queue cannot be looked after: %s", error)
            await asyncio.sleep(_SWEEP_S)

    def _take_up(self) -> None:
        """Settle what was leased to workers that fell silent: never a run that has ended."""
        for order in self._queue.expired():
            if order.lease in self._works:
                continue
            if has_ended(self._database, order):
                self._finish([order.lease])
                continue
            reason = self._queue.cancelled([order.lease]).get(order.lease)
            if reason is None and order.attempt <= order.ask.retries:
                broken = Broken(Outcome.RUNTIME, _VANISHED)
                try_again(self._database, order, broken, delay_s=0.0)
                self.wake()
                continue
            outcome = Outcome.RUNTIME if reason is None else Outcome.CANCELLED
            sink = OrderSink(self._store, order)
            sink.record_end(_ending(order, outcome, reason or _VANISHED))
            self._store.flush()
            self._finish([order.lease])

    def _keep_alive(self) -> None:
        self._queue.forget()
        for team, job_id in self._queue.open_jobs():
            self._store.put(JobHeard(id=job_id, heard_at=now_us(), team=team))


def make_worker(services: Services, places: Places, deployed: Deployed) -> Worker:
    """Return the worker that a process of the platform is configured to have.

    Raises:
        InputError: when there is no engine of the name it is given.
    """
    config = services.config
    engine = make_engine(config.engine, places, deployed.find, width=config.rollouts)
    return Worker(services.database, services.store, services.secrets, engine)


def _end(work: _Work, reason: str) -> None:
    if work.cancel_reason is None:
        work.cancel_reason = reason
        work.task.cancel()


def _ending(order: Order, outcome: Outcome, error: str) -> RunEnded:
    return RunEnded(
        trace_id=order.run_id,
        job_id=order.job_id,
        status="cancelled" if outcome is Outcome.CANCELLED else "error",
        outcome=outcome,
        ended_at=now_us(),
        error=error,
    )


def _because(ended: RunEnded, reason: str) -> RunEnded:
    return msgspec.structs.replace(ended, error=reason)
