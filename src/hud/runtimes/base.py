"""The provider contract: given a task, make a place for it and yield its address.

A provider is any callable of this shape, a user's own included; `hud.testing.check_provider`
runs one through the contract.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

from hud._core.errors import Fault, InputError, bounded
from hud._core.outcome import Outcome
from hud.environment.runtime_config import RuntimeConfig
from hud.environment.task import Task

logger = logging.getLogger(__name__)

LEAVE_S = 60.0
_PLACE_SURVIVES = (Outcome.ENVIRONMENT, Outcome.GRADER, Outcome.AGENT, Outcome.MODEL)


@dataclass(frozen=True)
class Runtime:
    """Where one environment listens: a control address and parameters for connecting to it.

    Also a provider of itself: calling it yields it, so an environment that already serves can be
    given wherever a provider is expected.

    Attributes:
        url: `tcp://host:port`, `unix:///path` or `memory://name`.
        params: `ready_timeout` (seconds) is understood; so is `exit_reason`, a callable that
            says why the place vanished, or None (and may have an async `wait` that waits for the
            news). Other keys belong to the provider.
        config: What the place was made with.
    """

    url: str
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    config: RuntimeConfig | None = None

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        yield self


@runtime_checkable
class Provider(Protocol):
    """Make a place for a task: an async context manager that yields where it listens.

    Entering returns once the place can be dialled (or raises `RuntimeFault`, or
    `EnvironmentFault` when the environment's own code failed). Leaving tears it down, whatever
    happened, exactly once, also on cancellation. Acquires may run concurrently and must not share
    state between tasks unless the provider says so.

    A provider may also be an async context manager itself: `Taskset.run` then enters it once
    around all rollouts, which is where warm parents and shared places live.
    """

    def __call__(self, task: Task, /) -> AbstractAsyncContextManager[Runtime]: ...


@runtime_checkable
class Checked(Protocol):
    """What can tell, before anything runs, whether there is anything to run on."""

    async def check(self) -> None:
        """Find out.

        Raises:
            HudError: when nothing could run; its message says why.
        """
        ...


def as_provider(runtime: object) -> Provider:
    """Return `runtime`, which has to be callable with a task.

    Raises:
        TypeError: when it is not.
    """
    if isinstance(runtime, type) or not callable(runtime):
        raise TypeError(
            f"runtime must be a provider such as LocalRuntime(…) or Runtime(url), not {runtime!r}"
        )
    return cast("Provider", runtime)


@contextlib.asynccontextmanager
async def provider_scope(provider: Provider) -> AsyncGenerator[None]:
    """Enter the provider's own scope around many acquires, when it has one.

    Leaving is bounded in time; what fails in it is logged, for the rollouts are over by then.
    """
    if not isinstance(provider, AbstractAsyncContextManager):
        yield
        return
    scope = cast("AbstractAsyncContextManager[object]", provider)
    await scope.__aenter__()
    try:
        yield
    except BaseException as error:
        await _leave(scope, error)
        raise
    await _leave(scope, None)


async def _leave(
    manager: AbstractAsyncContextManager[object], error: BaseException | None = None
) -> None:
    kind, traceback = (None, None) if error is None else (type(error), error.__traceback__)
    try:
        async with asyncio.timeout(LEAVE_S):
            await manager.__aexit__(kind, error, traceback)
    except TimeoutError:
        logger.warning("a runtime was not torn down within %g s", LEAVE_S)
    except Exception as failure:
        if failure is not error:
            logger.warning("tearing a runtime down failed: %r", failure)


def no_argument(runtime: str, argument: str | None) -> None:
    """Refuse what stands after a runtime's name, for one that takes nothing there.

    Raises:
        InputError: when something does.
    """
    if argument is not None:
        raise InputError(f"--runtime {runtime} takes no argument, so not {bounded(argument)!r}")


def refuse_config(task: Task, runtime: str) -> None:
    """Refuse a row whose asks this runtime cannot honour.

    Raises:
        InputError: when the task has a `runtime_config`.
    """
    if task.runtime_config is not None:
        raise InputError(
            f"task {task.slug!r} asks for a runtime_config, which {runtime} cannot honour",
            hint="run it in a container runtime, or remove runtime_config from the row",
        )


class Shared:
    """Share up to `width` places of another provider among all tasks, one rollout at a time each.

    A place serves tasks of the environment (and `runtime_config`) it was made for. It is torn
    down, and another one made when needed, after a rollout that its environment did not survive
    for certain: one that ended in anything but a grade or a fault of template, grader, agent or
    model.

    Needs an open scope (`async with Shared(…)`); `Taskset.run` opens it.
    """

    def __init__(self, inner: Provider, *, width: int) -> None:
        if width < 1:
            raise ValueError(f"Shared: width must be at least 1, not {width}")
        self.inner = inner
        self.width = width
        self._scope: AsyncExitStack | None = None
        self._scopes = 0
        self._free = asyncio.Semaphore(width)
        self._busy = 0
        self._idle: list[_Held] = []

    async def __aenter__(self) -> Shared:
        if self._scopes == 0:
            stack = AsyncExitStack()
            await stack.enter_async_context(provider_scope(self.inner))
            self._scope, self._idle = stack, []
            self._free = asyncio.Semaphore(self.width)
        self._scopes += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._scopes -= 1
        if self._scopes:
            return
        stack, self._scope = self._scope, None
        idle, self._idle = self._idle, []
        if stack is not None:
            async with stack:
                await asyncio.gather(*(_leave(held.manager) for held in idle))

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        if self._scope is None:
            raise RuntimeError("Shared: open its scope first: async with Shared(…)")
        async with self._free:
            self._busy += 1
            try:
                held = await self._take(task)
                try:
                    yield held.place
                except BaseException as error:
                    if isinstance(error, Fault) and error.outcome in _PLACE_SURVIVES:
                        self._idle.append(held)
                    else:
                        await _leave(held.manager, error)
                    raise
                self._idle.append(held)
            finally:
                self._busy -= 1

    async def _take(self, task: Task) -> _Held:
        """Return an idle place that suits the task, or make one, if need be in another's stead."""
        asks = _asks(task)
        for held in [held for held in self._idle if held.asks == asks]:
            self._idle.remove(held)
            if held.is_alive:
                return held
            await _leave(held.manager)
        if self._busy + len(self._idle) > self.width:
            await _leave(self._idle.pop(0).manager)
        manager = self.inner(task)
        return _Held(asks, manager, await manager.__aenter__())


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A place that `Shared` holds."""

    asks: tuple[str, str]
    manager: AbstractAsyncContextManager[Runtime]
    place: Runtime

    @property
    def is_alive(self) -> bool:
        """Whether its provider knows of nothing that ended it."""
        reason = self.place.params.get("exit_reason")
        return not (callable(reason) and reason())


def _asks(task: Task) -> tuple[str, str]:
    config = task.runtime_config
    return task.env, "" if config is None else config.model_dump_json()
