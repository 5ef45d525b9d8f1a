"""The actors for one kind of asks: how many there are, and who gets a slot of one.

An actor is made when a rollout waits and the nodes could hold one more; it stays for the rollouts
to come, and gives way when it idles while rollouts with other asks wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hud._core.errors import EnvironmentFault, HudError, InputError, RuntimeFault
from hud.runtimes.ray.asks import Asks, room_on
from hud.runtimes.ray.cluster import Cluster
from hud.runtimes.ray.worker import Kit, Worker

logger = logging.getLogger(__name__)

_FAILED_STARTS = 3
_IDLE_S = 60.0
_LOOK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Size:
    """How large a pool may grow.

    Attributes:
        width: Rollouts at once on one actor.
        actors: Actors at most; None for as many as the living nodes have room for.
        ready_timeout_s: How long a rollout waits for room while no actor works at all.
    """

    width: int
    actors: int | None
    ready_timeout_s: float


class Pool:
    """Slots on actors. `aclose` in every case."""

    def __init__(
        self,
        cluster: Cluster,
        kit: Kit,
        asks: Asks,
        size: Size,
        others: Callable[[Pool], Iterable[Pool]],
    ) -> None:
        self.asks = asks
        self.workers: list[Worker] = []
        self._cluster = cluster
        self._kit = kit
        self._size = size
        self._others = others
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._clock: asyncio.TimerHandle | None = None
        self._options: dict[str, Any] = {}
        self._limit = 0
        self._looked_s = float("-inf")
        self._failures = 0
        self._broken: HudError | None = None

    @property
    def has_waiting(self) -> bool:
        """Whether a rollout waits for a slot."""
        return any(not waiter.done() for waiter in self._waiting)

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncGenerator[Worker]:
        """Yield an actor that has room for one more rollout while the block runs.

        Raises:
            InputError: when no node could ever hold it, or the source cannot be used.
            EnvironmentFault: when importing the source fails.
            RuntimeFault: when no actor can be started.
        """
        worker = self._free()
        if worker is None:
            worker = await self._wait()
        try:
            yield worker
        finally:
            worker.used -= 1
            worker.idle_since_s = asyncio.get_running_loop().time()
            self._hand_out()
            self.give_way()

    async def warm_up(self, count: int) -> None:
        """Start so many actors, or as many as there is room for, without waiting for them."""
        await self._look()
        while len(self.workers) + len(self._starting) < min(count, self._limit):
            self._start_one()

    async def started(self) -> None:
        """Wait until every actor that is being started stands, or failed to."""
        while self._starting:
            await asyncio.wait(self._starting)

    def give_way(self) -> None:
        """End the idle actors when rollouts with other asks wait, and none with these."""
        if not self.has_waiting and any(other.has_waiting for other in self._others(self)):
            self.retire_idle()

    def retire_idle(self, for_s: float = 0.0) -> None:
        """End the actors that have served nobody for so long."""
        since_s = asyncio.get_running_loop().time() - for_s
        for worker in list(self.workers):
            if worker.used == 0 and worker.idle_since_s <= since_s:
                self._end(worker)

    async def aclose(self) -> None:
        """End every actor; whoever waits for one gets a fault."""
        if self._clock is not None:
            self._clock.cancel()
        self._fail(RuntimeFault("the runtime was closed"))
        tasks = [*self._starting]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.gather(*(worker.stop() for worker in self.workers), *self._ending)
        self.workers.clear()

    def _free(self) -> Worker | None:
        """Take a slot of the least used living actor."""
        self._drop_lost()
        free = [worker for worker in self.workers if worker.used < worker.width]
        if not free:
            return None
        worker = min(free, key=lambda worker: worker.used)
        worker.used += 1
        return worker

    def _drop_lost(self) -> None:
        for worker in [worker for worker in self.workers if not worker.is_alive]:
            self._end(worker)

    def _end(self, worker: Worker) -> None:
        self.workers.remove(worker)
        task = asyncio.get_running_loop().create_task(worker.stop())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _wait(self) -> Worker:
        """Wait for a slot, and see to it that there will be one."""
        if self._broken is not None:
            raise _again(self._broken)
        waiter: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await self._grow()
            while not waiter.done():
                await asyncio.wait([waiter], timeout=self._size.ready_timeout_s)
                if not waiter.done() and not self.workers:
                    raise RuntimeFault(
                        f"the Ray cluster had no room for {self.asks} within "
                        f"{self._size.ready_timeout_s:g} s",
                        hint="others may hold it: see `ray status`; or raise ready_timeout",
                    )
                await self._grow()
            return waiter.result()
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().used -= 1
                self._hand_out()
            waiter.cancel()
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiter)

    async def _grow(self) -> None:
        """Start the actors that the waiting rollouts need and the nodes have room for."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._looked_s > _LOOK_AGAIN_S:
            await self._look()
        self._hand_out()
        self._drop_lost()
        waiting = sum(not waiter.done() for waiter in self._waiting)
        while (
            len(self._starting) * self._size.width < waiting
            and len(self.workers) + len(self._starting) < self._limit
        ):
            self._start_one()
        if waiting:
            for other in self._others(self):
                other.give_way()

    async def _look(self) -> None:
        """Find out how many actors the living nodes could hold.

        Raises:
            InputError: when that is none.
            RuntimeFault: when it is none any more.
        """
        nodes = await self._cluster.nodes()
        self._looked_s = asyncio.get_running_loop().time()
        self._options = self.asks.options(self._size.width, nodes)
        room = sum(room_on(node, self._options) for node in nodes)
        if self._size.actors is not None:
            self._limit = self._size.actors  # the cluster may grow when it is asked
            return
        if room == 0:
            at_once = f" ({self._size.width} at once)" if self._size.width > 1 else ""
            if self._limit:
                raise RuntimeFault(
                    f"what is left of the Ray cluster cannot hold {self.asks} for a rollout"
                    f"{at_once}: the nodes that could are gone"
                )
            raise InputError(
                f"no node of the Ray cluster can hold {self.asks} for a rollout{at_once}",
                hint="ask for less; where the cluster grows on demand, give actors=N",
            )
        self._limit = room

    def _start_one(self) -> None:
        task = asyncio.get_running_loop().create_task(self._start())
        self._starting.add(task)
        task.add_done_callback(self._started)

    async def _start(self) -> None:
        worker = Worker(self._kit, self._options, self._size.width)
        try:
            await worker.start()
        except BaseException as error:
            await worker.stop()
            if isinstance(error, HudError):
                self._start_failed(error)
                return
            raise
        self._failures = 0
        worker.idle_since_s = asyncio.get_running_loop().time()
        self.workers.append(worker)
        worker.gone.add_done_callback(lambda _: self._revive())

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(RuntimeFault(f"an actor could not be started: {error!r}"))
        self._hand_out()
        self.give_way()

    def _start_failed(self, error: HudError) -> None:
        """Tell those who wait; a source that is broken stays so, other failures may pass."""
        self._failures += 1
        if isinstance(error, InputError | EnvironmentFault):
            self._broken = error
        if self._broken is not None or self._failures >= _FAILED_STARTS:
            self._fail(error)
        elif self.has_waiting and not self.workers:
            self._start_one()

    def _revive(self) -> None:
        """An actor is gone: forget it, and make another for those who wait."""
        self._drop_lost()
        if self.has_waiting and not self._starting and self._broken is None:
            self._start_one()

    def _fail(self, error: HudError) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(_again(error))
                waiter.exception()

    def _hand_out(self) -> None:
        """Give free slots to whoever waits longest."""
        while self.has_waiting:
            worker = self._free()
            if worker is None:
                return
            waiter = next(waiter for waiter in self._waiting if not waiter.done())
            waiter.set_result(worker)
        if self.workers and self._clock is None:
            self._clock = asyncio.get_running_loop().call_later(_IDLE_S, self._give_up_idle)

    def _give_up_idle(self) -> None:
        """End those that idled long enough, and look again later when others are left."""
        self._clock = None
        self.retire_idle(_IDLE_S)
        self._hand_out()


def _again(error: HudError) -> HudError:
    """Return the same error anew, so that raising it many times piles up no tracebacks."""
    return type(error)(error.message, hint=error.hint)
