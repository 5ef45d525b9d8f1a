"""Count what a job uses while it runs, and end it when its budget is used up.

One meter per job, shared by all of its rollouts; each rollout's recorder tells it of every step.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Generator, Iterable

from hud.eval.budget import Budget, dollars
from hud.eval.spending import Ledger, Spent, is_priced, turns_in
from hud.trace.steps import AgentStep, Step

logger = logging.getLogger(__name__)


class Meter:
    """What a job has used so far: in earlier processes, and in this one up to the latest step.

    Attributes:
        spent: All attempts at everything.
        has_read: Whether what was recorded before is counted, or nothing was.
    """

    def __init__(self) -> None:
        self.spent = Spent()
        self._watchers: list[Callable[[AgentStep], None]] = []
        self._before_s = 0.0
        self._began: float | None = None
        self._workers = 0
        self._reading = asyncio.Lock()
        self.has_read = False

    @property
    def wall_s(self) -> float:
        """Seconds the job was worked on, by the clock of the running loop."""
        if self._began is None:
            return self._before_s
        return self._before_s + asyncio.get_running_loop().time() - self._began

    async def read(self, ledger: Callable[[], Ledger]) -> None:
        """Take in what was recorded before this process, once."""
        async with self._reading:
            if not self.has_read:
                found = await asyncio.to_thread(ledger)
                self.spent.add(found.spent)
                self._before_s += found.wall_s
                self.has_read = True

    @contextlib.contextmanager
    def working(self) -> Generator[None]:
        """Let the clock run while any such block does."""
        loop = asyncio.get_running_loop()
        if self._workers == 0:
            self._began = loop.time()
        self._workers += 1
        try:
            yield
        finally:
            self._workers -= 1
            if self._workers == 0:
                self._before_s, self._began = self.wall_s, None

    @contextlib.contextmanager
    def limited(self, budget: Budget, used_up: Callable[[str], None]) -> Generator[None]:
        """Call `used_up`, once, with the sentence that says so when the budget is used up.

        At the beginning of the block, or while it runs: as a step is recorded, or when the time
        is over.
        """
        loop = asyncio.get_running_loop()
        unpriced: set[str | None] = set()
        is_over = False

        def check(wall_s: float) -> None:
            nonlocal is_over
            reason = None if is_over else budget.used_up(self.spent, wall_s)
            if reason is not None:
                is_over = True
                used_up(reason)

        def watch(step: AgentStep) -> None:
            usage = step.usage
            if (
                budget.cost_usd is not None
                and usage is not None
                and not is_priced(usage)
                and step.model not in unpriced
            ):
                unpriced.add(step.model)
                logger.warning(
                    "the price of %s is unknown: its turns count nothing toward the job's budget "
                    "of %s",
                    f"model {step.model!r}" if step.model else "a model",
                    dollars(budget.cost_usd),
                )
            check(self.wall_s)

        timer: asyncio.TimerHandle | None = None
        self._watchers.append(watch)
        try:
            check(self.wall_s)
            if budget.wall_s is not None and not is_over:
                # The clock may stand a hair before the time when the timer is due.
                limit = budget.wall_s
                due = loop.time() + limit - self.wall_s
                timer = loop.call_at(due, lambda: check(max(limit, self.wall_s)))
            yield
        finally:
            self._watchers.remove(watch)
            if timer is not None:
                timer.cancel()

    def count(self, step: AgentStep) -> None:
        """Take in one model turn."""
        self.spent.add_turn(step.usage)
        for watch in list(self._watchers):
            watch(step)


class Account:
    """One rollout's part of a meter: each of its model turns counts once.

    The turns of a subagent count when its step is recorded, which is when it has ended.
    """

    __slots__ = ("_counted", "_meter")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._counted: set[int] = set()

    def __call__(self, step: Step) -> None:
        """Take in a step as it is recorded."""
        for turn in turns_in(step):
            if id(turn) not in self._counted:
                self._counted.add(id(turn))
                self._meter.count(turn)

    def settle(self, steps: Iterable[Step]) -> None:
        """Take in what came into the trace without being recorded one by one."""
        for step in steps:
            self(step)
