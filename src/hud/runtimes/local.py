"""LocalRuntime: serve an environment in this process, over an in-memory stream.

The fastest place there is, and the least isolated: user code shares this process and its event
loop. `SubprocessRuntime` is the one to use for code that blocks or crashes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from hud._core.errors import EnvironmentFault, InputError, RuntimeFault
from hud._core.streams import LISTENERS
from hud._core.watchdog import BlockWatch
from hud.environment.environment import Environment
from hud.environment.loader import Source, choose, execute, resolve, unload
from hud.environment.server import EnvironmentServer
from hud.environment.task import Task
from hud.runtimes.base import Runtime, refuse_config

_counter = itertools.count()
_ADVICE = "run it with SubprocessRuntime (--runtime subprocess), or make that call async"


class LocalRuntime:
    """Place rollouts in this process.

    What is fresh depends on the source: a path is compiled once and executed anew for every
    rollout, so module globals are never shared and hooks run per rollout; a constructor is called
    for every rollout; a live `Environment` is started once and serves concurrent sessions.

    Args:
        source: A file or directory, a live environment, or `(task) -> Environment`.
        env: Which environment, when a file has several; the task's own `env` otherwise.
        ready_timeout: Seconds the initialize hooks may take.
    """

    def __init__(
        self,
        source: str | Path | Environment | Callable[[Task], Environment],
        *,
        env: str | None = None,
        ready_timeout: float = 120.0,
    ) -> None:
        self.env = env
        self.ready_timeout = ready_timeout
        self.source = source
        self._file: Source | None = None
        if isinstance(source, str | Path):
            self._file = resolve(source)
        elif not isinstance(source, Environment) and not callable(source):
            raise TypeError(
                f"LocalRuntime: source must be a path, an Environment or a function of a task, "
                f"not {type(source).__name__}"
            )
        self._live: _Live | None = None
        self._watch: BlockWatch | None = None

    def __repr__(self) -> str:
        return f"LocalRuntime({self.source!r})"

    async def __aenter__(self) -> LocalRuntime:
        self._watch = BlockWatch(_ADVICE)
        self._watch.start()
        if isinstance(self.source, Environment):
            self._live = self._live or _Live(self.source)
            self._live.users += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
        if self._live is not None:
            await self._release_live(self._live)

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        refuse_config(task, "LocalRuntime")
        if isinstance(self.source, Environment):
            async with self._shared(self.source) as runtime:
                yield runtime
            return
        if self._file is not None:
            loaded = execute(self._file)
            try:
                name = None if self._file.attribute else self.env or task.env
                async with self._serve(choose(loaded, name)) as runtime:
                    yield runtime
            finally:
                unload(loaded)
            return
        assert callable(self.source)
        try:
            env = self.source(task)
        except Exception as error:
            raise EnvironmentFault(
                f"the environment constructor raised {type(error).__qualname__}: {error}"
            ) from error
        if not isinstance(env, Environment):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"the constructor gave LocalRuntime no Environment but {env!r}")
        async with self._serve(env) as runtime:
            yield runtime

    @contextlib.asynccontextmanager
    async def _serve(self, env: Environment) -> AsyncGenerator[Runtime]:
        server = EnvironmentServer(env)
        name = f"local-{next(_counter)}"
        try:
            await self._start(server)
            LISTENERS.listen(name, server.connection)
            yield Runtime(f"memory://{name}")
        finally:
            LISTENERS.close(name)
            await server.aclose()

    async def _start(self, server: EnvironmentServer) -> None:
        if not server.env.has_hooks:
            await server.start()
            return
        try:
            async with asyncio.timeout(self.ready_timeout):
                await server.start()
        except TimeoutError:
            raise RuntimeFault(
                f"environment {server.env.name!r} was not ready within {self.ready_timeout:g} s",
                hint="raise ready_timeout, or look at its initialize hooks",
            ) from None

    @contextlib.asynccontextmanager
    async def _shared(self, env: Environment) -> AsyncGenerator[Runtime]:
        live = self._live = self._live or _Live(env)
        live.users += 1
        try:
            async with live.starting:
                if not live.started:
                    await self._start(live.server)
                    LISTENERS.listen(live.name, live.server.connection)
                    live.started = True
            yield Runtime(f"memory://{live.name}")
        finally:
            await self._release_live(live)

    async def _release_live(self, live: _Live) -> None:
        live.users -= 1
        if live.users == 0:
            self._live = None
            LISTENERS.close(live.name)
            await live.server.aclose()


class _Live:
    """A live environment being served, and how many rollouts and scopes use it."""

    def __init__(self, env: Environment) -> None:
        self.server = EnvironmentServer(env)
        self.name = f"live-{next(_counter)}"
        self.users = 0
        self.started = False
        self.starting = asyncio.Lock()
