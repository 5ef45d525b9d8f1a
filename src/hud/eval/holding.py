"""Hold one place and the connection to it for a rollout, and never cut their clean-up short.

What happens between the two is `rollout`; how a place is made is its provider's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from hud._core.errors import EnvironmentFault, InputError, RuntimeFault
from hud._core.outcome import Outcome
from hud.clients.client import HudClient
from hud.clients.connect import connect
from hud.environment.task import Task
from hud.eval.boundary import boundary, describe, fault_for, phase_of
from hud.runtimes.base import Provider, Runtime

logger = logging.getLogger(__name__)

GOODBYE_S = 5.0
TEARDOWN_S = 60.0


class Interruption:
    """What may end a rollout early: its time limit, and whoever cancels it.

    Both are held back while something is torn down, and take effect right after. A task started
    with one is to be cancelled through it.

    Attributes:
        is_due: Whether it was cancelled while that was held back, which the task has to see to.
        is_finishing: Whether what it does needs the agent no more: `cut` then leaves it alone.
        reason: Why it is cancelled, in a sentence, where there is more to say than that it is.
        was_cut: Whether `cut` cancelled it.
        is_alone: Whether only the present rollout is to be cancelled, not what the task does next.
    """

    __slots__ = (
        "_clock",
        "_holding",
        "_task",
        "_when",
        "is_alone",
        "is_due",
        "is_finishing",
        "reason",
        "was_cut",
    )

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._clock: asyncio.Timeout | None = None
        self._when: float | None = None
        self._holding = False
        self.is_due = False
        self.is_finishing = False
        self.reason: str | None = None
        self.was_cut = False
        self.is_alone = False

    def begin(self) -> None:
        """Say that another rollout begins in the task: what was meant for the last one is over."""
        self.is_finishing = False
        if self.is_alone:
            if self.was_cut and self._task is not None:
                self._task.uncancel()  # its agent went on as if nothing had been said
            self.is_alone = self.was_cut = False
            self.reason = None

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` as a task of its own, which `cancel` then cancels."""
        self._task = asyncio.create_task(work)
        return self._task

    def limit(self, seconds: float | None) -> asyncio.Timeout:
        """Return a block that lasts at most `seconds`, clean-up not counted."""
        self._clock = asyncio.timeout(seconds)
        return self._clock

    def cancel(self) -> None:
        """Cancel the task, once it does not tear anything down."""
        if self._holding:
            self.is_due = True
        elif self._task is not None:
            self._task.cancel()

    def cut(self, reason: str) -> None:
        """Cancel the task for `reason`, unless it is finishing, or tears something down."""
        self.is_alone = False
        self._cut(reason)

    def _cut(self, reason: str) -> None:
        self.reason = reason
        task = self._task
        if task is not None and not (task.done() or self._holding or self.is_finishing):
            self.was_cut = True
            task.cancel()

    def cut_alone(self, reason: str) -> None:
        """Do as `cut` with the present rollout; the task goes on with its next one."""
        if self.reason is None:
            self.is_alone = True
            self._cut(reason)

    def takes_back(self) -> bool:
        """Tell whether the task is to go on after its cancellation, which is then undone."""
        task = self._task
        if task is None or self.is_due or not (self.is_alone and self.was_cut):
            return False
        self.was_cut = False
        return task.uncancel() == 0

    def turned(self, *, is_done: bool) -> None:
        """Say that the agent took a turn, and whether it means to be done with it.

        One that was done and goes on after all is cut now, if it was to be cut before.
        """
        self.is_finishing = is_done
        if not is_done and self.reason is not None and not self.was_cut:
            self._cut(self.reason)

    def __enter__(self) -> None:
        """Begin to hold both back."""
        self._holding = True
        clock = self._clock
        if clock is not None and not clock.expired():
            self._when = clock.when()
            if self._when is not None:
                clock.reschedule(None)

    def __exit__(self, *exc: object) -> None:
        self._holding = False
        clock = self._clock
        if clock is not None and self._when is not None and not clock.expired():
            clock.reschedule(self._when)
        self._when = None


async def outlast(tasks: Sequence[asyncio.Task[None]], through: Sequence[Interruption]) -> None:
    """Wait until all `tasks` have ended, however often this is cancelled meanwhile.

    Cancelling cancels the tasks `through` their interruptions, and is passed on when they have
    ended.
    """
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
            for interruption in through:
                interruption.cancel()
    if cancelled is not None:
        raise cancelled


class Placement:
    """A place for one task and a client connected to it, for the length of a block.

    Entering asks the provider and connects. Leaving says bye, so that no suspended task stays
    behind, closes, and tears the place down: once, whatever happened, uninterrupted and bounded
    in time. What fails while leaving is logged: it is no reason to lose a grade.

    Attributes:
        url: The place's address, None before there is one.
    """

    __slots__ = (
        "_client",
        "_connection",
        "_interruption",
        "_manager",
        "_place",
        "_provider",
        "_task",
        "url",
    )

    def __init__(self, provider: Provider, task: Task, interruption: Interruption) -> None:
        self._provider = provider
        self._task = task
        self._interruption = interruption
        self._manager: AbstractAsyncContextManager[Runtime] | None = None
        self._place: Runtime | None = None
        self._connection: connect | None = None
        self._client: HudClient | None = None
        self.url: str | None = None

    async def __aenter__(self) -> HudClient:
        with boundary(Outcome.RUNTIME, "provisioning"):
            try:
                manager = self._provider(self._task)
                place = await manager.__aenter__()
            except InputError as error:
                # A source or a row that cannot be used stays so: not worth another attempt.
                told = f"{error.message} ({error.hint})" if error.hint else error.message
                raise EnvironmentFault(told, hint=error.hint) from error
        self._manager = manager
        try:
            with boundary(Outcome.RUNTIME, "connecting"):
                self.url = _checked(place).url
                self._place = place
                connection = connect(place)
                self._client = await connection.__aenter__()
            self._connection = connection
            return self._client
        except BaseException as error:
            await self._leave(error)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        with self._interruption:
            explained = await self._explained(error)
            await self._hang_up()
            broken = await self._tear_down(error)
        if explained is not None:
            raise explained from error
        if broken is not None:
            raise broken
        if error is None and self._interruption.is_due:
            raise asyncio.CancelledError

    async def _hang_up(self) -> None:
        client, connection = self._client, self._connection
        if client is None or connection is None:
            return
        try:
            if not client.lost.done():
                async with asyncio.timeout(GOODBYE_S):
                    await client.bye()
        except Exception as error:
            logger.debug("bye failed: %s", describe(error))
        try:
            await connection.__aexit__(None, None, None)
        except Exception as error:
            logger.warning("closing a connection failed: %s", describe(error))

    async def _tear_down(self, error: BaseException | None) -> RuntimeFault | None:
        """Leave the place; return what it was that broke, when the place itself did.

        A provider may cancel a rollout it can no longer hold a place for (a task group or a time
        limit around its `yield`), and takes that back here; whoever else cancelled does not.
        """
        manager, self._manager = self._manager, None
        task = asyncio.current_task()
        if manager is None or task is None:
            return None
        cancels = task.cancelling()
        kind, traceback = (None, None) if error is None else (type(error), error.__traceback__)
        try:
            async with asyncio.timeout(TEARDOWN_S):
                await manager.__aexit__(kind, error, traceback)
        except asyncio.CancelledError as failure:
            if task.cancelling() > cancels:
                raise  # cancelled now, and not through the interruption
            reason: BaseException = failure
        except (Exception, SystemExit) as failure:
            reason = failure
        else:
            reason = error or asyncio.CancelledError()
        if isinstance(error, asyncio.CancelledError) and task.cancelling() < cancels:
            message = f"the place broke: {describe(reason)}"
            broken = fault_for(Outcome.RUNTIME, message, "holding the place")
            assert isinstance(broken, RuntimeFault)
            return broken
        if reason is not error and not isinstance(reason, asyncio.CancelledError):
            logger.warning("tearing a place down failed: %s", describe(reason))
        return None

    async def _explained(self, error: BaseException | None) -> RuntimeFault | None:
        """Return `error` with what the provider knows of a place that vanished."""
        if not isinstance(error, RuntimeFault) or self._place is None:
            return None
        reason: Any = self._place.params.get("exit_reason")
        if reason is None:
            return None
        try:
            wait = getattr(reason, "wait", None)
            text = await wait() if wait is not None else reason()
        except Exception as failure:
            logger.debug("no exit reason: %s", describe(failure))
            return None
        if not text:
            return None
        explained = RuntimeFault(f"{error.message}: {text}", hint=error.hint)
        explained.add_note(phase_of(error))
        return explained


def _checked(place: object) -> Runtime:
    if not isinstance(place, Runtime):
        raise InputError(f"the provider yielded no Runtime but {place!r}")
    return place
