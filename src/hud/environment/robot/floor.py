"""The floor a robot moves on: when the simulation ticks, and what each agent is then sent.

Three ways of time. Slots that share a simulation wait for each other (the barrier), bounded by
`step_timeout`; slots that are simulations of their own tick as their actions come; a realtime
simulation ticks by the clock, whoever acts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from hud._core.errors import CapabilityFault, HudError, bounded
from hud.environment.robot.simthread import SimThread, post
from hud.environment.robot.slots import Slot, SlotTable
from hud.protocol.openpi import load_numpy, pack

if TYPE_CHECKING:
    from hud.environment.robot.bridge import RobotBridge

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_AHEAD = 10_000
"""Actions of one realtime chunk that are kept."""


class Floor:
    """Ticks of one bridge. Lives on the loop; only what `_work` does runs on the sim's thread."""

    def __init__(self, bridge: RobotBridge, sim: SimThread) -> None:
        self.table = SlotTable(bridge.num_envs)
        self._bridge = bridge
        self._sim = sim
        self._loop = asyncio.get_running_loop()
        self._is_stepping = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._quiet = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._deadline: asyncio.TimerHandle | None = None
        self._is_overdue = False
        self._clock: asyncio.TimerHandle | None = None
        self._next = 0.0
        self._period = 1.0 / max(1e-3, float(bridge.contract.get("control_rate") or 10))
        self._broken: str | None = None
        self._hold = bridge.hold_action()
        self.action_shape: tuple[int, ...] = tuple(self._hold.shape)
        self._paid = [0.0] * bridge.num_envs

    @property
    def is_realtime(self) -> bool:
        return self._bridge.realtime

    async def close(self) -> None:
        """Tick no more."""
        self._quiet += 1
        for handle in (self._deadline, self._clock):
            if handle is not None:
                handle.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._idle.wait()

    async def quiet(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `fn` on the sim's thread between two ticks.

        Raises:
            CapabilityFault: when `fn` raises.
        """
        self._quiet += 1
        try:
            await self._idle.wait()
            return await self._sim.call(fn, *args, **kwargs)
        except HudError:
            raise
        except Exception as error:
            name = getattr(fn, "__name__", "call")
            logger.exception("the simulator raised in %s", name)
            raise CapabilityFault(f"the simulator's {name} raised {_said(error)}") from error
        finally:
            self._quiet -= 1
            self.wake()

    def begin(self, slot: Slot) -> None:
        """Begin the episode of a slot that was reset."""
        slot.restart()
        self._paid[slot.index] = 0.0
        self._broken = None

    def check(self) -> None:
        """Raise CapabilityFault when the simulator broke since the last reset."""
        if self._broken is not None:
            raise CapabilityFault(self._broken)

    def greet(self, slot: Slot) -> None:
        """Send an agent that has just connected what its slot shows."""
        slot.owed = True
        if slot.has_drifted and self._bridge.resets_slots:
            task = self._loop.create_task(self._start_over(slot))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._look([slot])
        if self._bridge.realtime and self._clock is None:
            self._next = self._loop.time() + self._period
            self._clock = self._loop.call_at(self._next, self._strike)

    async def _start_over(self, slot: Slot) -> None:
        """Reset a slot that others moved on with them before its agent came."""
        token = slot.token
        try:
            await self.quiet(self._bridge.reset_slot, slot.index, **slot.arguments)
        except HudError as error:
            self._break(error.message)
            return
        if slot.token == token:
            self.begin(slot)
            slot.owed = slot.peer is not None
            self._look([slot])

    def act(self, slot: Slot, rows: Any, obs_index: int | None) -> None:
        """Take in an agent's actions `[T, D]`."""
        if slot.is_over or slot.is_frozen:
            if not self._bridge.realtime and not slot.owed:
                slot.owed = True
                self._look([slot])
            return
        if self._bridge.realtime:
            slot.delay = 0 if obs_index is None else max(0, slot.ticks - obs_index)
            slot.queue.clear()
            slot.queue.extend(rows[slot.delay : slot.delay + MAX_AHEAD])
            return
        slot.queue.extend(rows)
        slot.owed = True
        self.wake()

    def wake(self) -> None:
        """Tick, when everything a tick needs is here."""
        if self._is_stepping or self._quiet or self._bridge.realtime:
            return
        live = [slot for slot in self.table.slots if slot.is_live]
        ready = [slot for slot in live if slot.queue]
        if not ready:
            self._stop_waiting()
        elif self._bridge.steps_slots or len(ready) == len(live) or self._is_overdue:
            self._stop_waiting()
            self._tick(ready)
        elif self._deadline is None:
            self._deadline = self._loop.call_later(self._bridge.step_timeout, self._overdue)

    def _stop_waiting(self) -> None:
        self._is_overdue = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _overdue(self) -> None:
        self._deadline = None
        self._is_overdue = True
        self.wake()

    def _strike(self) -> None:
        """Tick by the clock; a simulation slower than its rate falls behind, and does not race."""
        self._clock = None
        live = [slot for slot in self.table.slots if slot.is_live]
        if not live and not any(slot.peer for slot in self.table.slots):
            return
        self._next = max(self._next + self._period, self._loop.time())
        self._clock = self._loop.call_at(self._next, self._strike)
        if live and not self._is_stepping and not self._quiet:
            for slot in live:
                slot.owed = True
            self._tick(live)

    def _tick(self, ready: list[Slot]) -> None:
        """Carry out the next action of every ready slot."""
        actions = {slot.index: self._next_action(slot) for slot in ready}
        wanted = [slot.index for slot in ready if self._bridge.realtime or not slot.queue]
        for slot in ready:
            slot.ticks += 1
        if not self._bridge.steps_slots:
            for slot in self.table.claimed:
                slot.has_drifted |= slot.ticks == 0
        self._begin()
        self._sim.submit(lambda: self._work(actions, wanted))

    def _next_action(self, slot: Slot) -> Any:
        if slot.queue:
            slot.last = slot.queue.popleft()
            return slot.last
        return self._held(slot)

    def _held(self, slot: Slot) -> Any:
        """Return what a slot does that was told nothing."""
        return slot.last if self._bridge.holds_last and slot.last is not None else self._hold

    def _look(self, slots: list[Slot]) -> None:
        """Have slots observed without a tick."""
        self._sim.submit(lambda: self._work({}, [slot.index for slot in slots]))

    def _begin(self) -> None:
        self._is_stepping = True
        self._idle.clear()

    def _work(self, actions: dict[int, Any], wanted: list[int]) -> None:
        """On the sim's thread: step, observe, and send what was seen back to the loop."""
        bridge = self._bridge
        try:
            if actions and bridge.steps_slots:
                for index, action in actions.items():
                    bridge.step_slots({index: action})
                    post(self._loop, self._seen, *self._observed([index]))
            else:
                if actions:
                    bridge.step(self._batch(actions))
                seen = self._observed(sorted({*actions, *wanted}))
                post(self._loop, self._seen, *seen)
        except BaseException as error:
            logger.exception("the simulator raised")
            post(self._loop, self._break, f"the simulator raised {_said(error)}")
        if actions:
            post(self._loop, self._end)

    def _observed(self, slots: list[int]) -> tuple[dict[int, tuple[dict[str, Any], bool]], Any]:
        return self._bridge.observe(slots), self._bridge.rewards()

    def _batch(self, actions: dict[int, Any]) -> Any:
        """Return one action per slot `[N, D]`."""
        rows = [
            actions[slot.index] if slot.index in actions else self._held(slot)
            for slot in self.table.slots
        ]
        return load_numpy().stack(rows)

    def _seen(self, seen: dict[int, tuple[dict[str, Any], bool]], rewards: list[float]) -> None:
        for index, (data, is_over) in seen.items():
            slot = self.table.slots[index]
            if is_over and not slot.is_over:
                slot.is_over = True
                slot.owed = slot.peer is not None
            peer = slot.peer
            wants = slot.owed and (self._bridge.realtime or is_over or not slot.queue)
            if peer is None or not wants or (peer.is_congested and not is_over):
                continue
            slot.owed = False
            peer.send(self._frame(slot, data, is_over, rewards[index]))
            if is_over:
                slot.queue.clear()

    def _frame(self, slot: Slot, data: dict[str, Any], is_over: bool, total: float) -> bytes:
        reward = total - self._paid[slot.index] if slot.ticks else 0.0
        self._paid[slot.index] = total
        frame: dict[str, Any] = {**data, "terminated": is_over, "reward": reward}
        if self._bridge.realtime:
            left = list(slot.queue)
            numpy = load_numpy()
            rest = numpy.stack(left) if left else numpy.zeros((0, *self.action_shape), "float32")
            frame["meta"] = {
                "obs_index": slot.ticks,
                "queue_remaining": len(left),
                "delay": slot.delay,
                "unexecuted_chunk": rest,
            }
        return pack(frame)

    def _end(self) -> None:
        self._is_stepping = False
        self._idle.set()
        self.wake()

    def _break(self, reason: str) -> None:
        self._broken = reason
        for slot in self.table.slots:
            slot.queue.clear()
            if slot.peer is not None and slot.owed:
                slot.owed = False
                slot.peer.send(reason)


def _said(error: BaseException) -> str:
    text = bounded(str(error), 500)
    name = type(error).__qualname__
    return f"{name}: {text}" if text else name
