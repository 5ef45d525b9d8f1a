"""Gather the inferences of many rollouts into one.

A thread does the inferring, so callers may live on any number of event loops; it ends when nobody
has asked for a while. Agents whose rollouts share a batch are `batched`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Generator, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hud._core.errors import AgentFault, Fault, bounded
from hud.agents.robot.model import Model, chunks_of
from hud.agents.robot.stacking import kind_of, stacked

if TYPE_CHECKING:
    from hud.agents.robot.adapter import ActionArray

IDLE_S = 2.0


@dataclass(slots=True, eq=False)
class _Call:
    """One rollout's inference, from being asked for until it is answered."""

    sample: Any
    kind: Hashable
    since: float
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[ActionArray]


class BatchedModel(Model):
    """Another model, which infers for many rollouts at once: `inner.infer` gets them stacked.

    Those who have waited longest come first; observations of different shapes are never mixed. A
    caller that is cancelled drops out. What the policy raises reaches everyone in its batch, as
    `AgentFault`.

    An inference begins when `batch_size` rollouts wait, when every rollout there is (`member`)
    waits, or when the first has waited `max_wait_s`. With `batch_size`, the first rollouts wait
    for as many to come; later ones do not wait for those that have ended.

    Attributes:
        inner: The policy; its `infer` must take batches.
        batch_size: The most that one inference holds; None is no limit.
        max_wait_s: How long a rollout waits for others, in seconds.
    """

    def __init__(
        self, inner: Model, *, batch_size: int | None = None, max_wait_s: float = 0.05
    ) -> None:
        """Take a model over.

        Raises:
            ValueError: when it cannot infer for several rollouts, or a number makes no sense.
        """
        if not inner.is_batchable:
            raise ValueError(
                f"BatchedModel: {type(inner).__name__} takes one observation at a time; "
                "use a RobotAgent with it for all rollouts"
            )
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"BatchedModel: batch_size must be at least 1, not {batch_size}")
        if not max_wait_s >= 0:
            raise ValueError(f"BatchedModel: max_wait_s must be 0 or more, not {max_wait_s}")
        self.inner = inner
        self.batch_size = None if batch_size is None else int(batch_size)
        self.max_wait_s = float(max_wait_s)
        self._changed = threading.Condition()
        self._waiting: list[_Call] = []
        self._members = 0
        self._met = 0
        self._thread: threading.Thread | None = None

    def infer(self, batch: Any) -> ActionArray:
        return self.inner.infer(batch)

    async def ainfer(self, batch: Any) -> ActionArray:
        """Return the chunk `[T, A]` for one observation, inferred together with others.

        Raises:
            AgentFault: when the policy raised, or did not return a chunk for each rollout.
        """
        loop = asyncio.get_running_loop()
        call = _Call(batch, kind_of(batch), time.monotonic(), loop, loop.create_future())
        with self._changed:
            self._waiting.append(call)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="hud-batched-model", daemon=True
                )
                self._thread.start()
            self._changed.notify()
        try:
            return await call.answer
        finally:
            if call.answer.cancelled():
                with self._changed, contextlib.suppress(ValueError):
                    self._waiting.remove(call)

    @contextlib.contextmanager
    def member(self) -> Generator[None]:
        """Count as a rollout that others may have to wait for, inside a `with`."""
        with self._changed:
            self._members += 1
            self._met = max(self._met, self._members)
        try:
            yield
        finally:
            with self._changed:
                self._members -= 1
                if not self._members:
                    self._met = 0
                self._changed.notify()

    def _work(self) -> None:
        """On the thread: infer, batch by batch, until nobody asks any more."""
        while (calls := self._next()) is not None:
            if calls:
                self._carry_out(calls)
            del calls  # an idle thread must not hold on to the last observations

    def _next(self) -> list[_Call] | None:
        """Return the next batch, empty when its callers are gone, None at the end of the thread."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, IDLE_S):
                self._thread = None
                return None
            while self._waiting and not self._is_full():
                patience = self._waiting[0].since + self.max_wait_s - time.monotonic()
                if patience <= 0:
                    break
                self._changed.wait(patience)
            if not self._waiting:
                return []
            kind = self._waiting[0].kind
            alike = [call for call in self._waiting if call.kind == kind][: self.batch_size]
            self._waiting = [call for call in self._waiting if call not in alike]
            return alike

    def _is_full(self) -> bool:
        waiting, size = len(self._waiting), self.batch_size
        if size is not None and waiting >= size:
            return True
        is_gathering = self._members == 0 or (size is not None and self._met < size)
        return not is_gathering and waiting >= self._members

    def _carry_out(self, calls: list[_Call]) -> None:
        who = type(self.inner).__name__
        try:
            found = self.inner.infer(stacked([call.sample for call in calls]))
            chunks = chunks_of(found, len(calls), who)
        except BaseException as error:
            for call in calls:
                _tell(call, None, _fault(error, who))
        else:
            for call, chunk in zip(calls, chunks, strict=True):
                _tell(call, chunk, None)


def _fault(error: BaseException, who: str) -> Fault:
    """Return a fault of one caller's own: an exception's traceback grows where it is raised."""
    if isinstance(error, Fault):
        fault = type(error)(error.message, hint=error.hint)
    else:
        reason = bounded(str(error), 500)
        fault = AgentFault(f"the policy {who} raised {type(error).__qualname__}: {reason}")
    fault.__cause__ = error
    return fault


def _tell(call: _Call, chunk: ActionArray | None, fault: Fault | None) -> None:
    """Answer a call on its own loop, unless that has ended."""

    def tell() -> None:
        if call.answer.done():
            return
        if fault is not None:
            call.answer.set_exception(fault)
        else:
            assert chunk is not None
            call.answer.set_result(chunk)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
        call.loop.call_soon_threadsafe(tell)
