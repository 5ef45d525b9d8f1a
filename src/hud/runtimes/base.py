"""The provider contract: given a task, make a place for it and yield its address.

A provider is any callable of this shape, a user's own included; `hud.testing.check_provider`
runs one through the contract.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

from hud._core.errors import InputError
from hud.environment.runtime_config import RuntimeConfig
from hud.environment.task import Task


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
    """Enter the provider's own scope around many acquires, when it has one."""
    if isinstance(provider, AbstractAsyncContextManager):
        async with provider:
            yield
    else:
        yield


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

    Needs an open scope (`async with Shared(…)`); `Taskset.run` opens it.
    """

    def __init__(self, inner: Provider, *, width: int) -> None:
        if width < 1:
            raise ValueError(f"Shared: width must be at least 1, not {width}")
        self.inner = inner
        self.width = width
        self._stack: AsyncExitStack | None = None
        self._idle: asyncio.LifoQueue[Runtime] = asyncio.LifoQueue()
        self._made = 0

    async def __aenter__(self) -> Shared:
        if self._stack is not None:
            raise RuntimeError("Shared: its scope is already open")
        self._stack = AsyncExitStack()
        self._idle = asyncio.LifoQueue()
        self._made = 0
        await self._stack.enter_async_context(provider_scope(self.inner))
        return self

    async def __aexit__(self, *exc: object) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        place = await self._acquire(task)
        try:
            yield place
        finally:
            self._idle.put_nowait(place)

    async def _acquire(self, task: Task) -> Runtime:
        stack = self._stack
        if stack is None:
            raise RuntimeError("Shared: open its scope first: async with Shared(…)")
        if self._idle.empty() and self._made < self.width:
            self._made += 1
            try:
                return await stack.enter_async_context(self.inner(task))
            except BaseException:
                self._made -= 1
                raise
        return await self._idle.get()
