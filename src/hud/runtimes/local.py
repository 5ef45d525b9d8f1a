"""LocalRuntime: serve an environment in this process, over an in-memory stream.

The fastest place there is, and the least isolated: user code shares this process and its event
loop. `SubprocessRuntime` is the one to use for code that blocks or crashes.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import ClassVar
from weakref import WeakKeyDictionary

from hud._core.errors import EnvironmentFault, InputError
from hud._core.streams import LISTENERS
from hud._core.watchdog import BlockWatch
from hud.environment.environment import Environment
from hud.environment.loader import Loaded, Source, choose, execute, resolve, unload
from hud.environment.server import EnvironmentServer
from hud.environment.task import Task
from hud.runtimes.base import Provider, Runtime, no_argument, refuse_config

_counter = itertools.count()
_ADVICE = "run it with SubprocessRuntime (--runtime subprocess), or make that call async"


class LocalRuntime:
    """Place rollouts in this process.

    What is fresh depends on the source: a path is compiled once and executed anew for every
    rollout, so module globals are never shared and hooks run per rollout; a constructor is called
    for every rollout; a live `Environment` is started once and serves concurrent sessions, or one
    after the other when they would share a workspace, a browser or a desktop.

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
        self._watch: BlockWatch | None = None
        self._scopes = 0

    def __repr__(self) -> str:
        return f"LocalRuntime({self.source!r})"

    async def __aenter__(self) -> LocalRuntime:
        self._scopes += 1
        if self._watch is None:
            self._watch = BlockWatch(_ADVICE)
            self._watch.start()
        if isinstance(self.source, Environment):
            _Live.of(self.source).users += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._scopes -= 1
        watch = self._watch
        if watch is not None and self._scopes == 0:
            self._watch = None
            watch.stop()
        if isinstance(self.source, Environment):
            await _Live.of(self.source).release()

    def __call__(self, task: Task, /) -> AbstractAsyncContextManager[Runtime]:
        return _Place(self, task)

    async def acquire(self, task: Task) -> tuple[Runtime, Callable[[], Awaitable[None]]]:
        """Place one task; return where it listens and how to release it."""
        refuse_config(task, "LocalRuntime")
        if isinstance(self.source, Environment):
            return await self._acquire_live(_Live.of(self.source))
        if self._file is None:
            return await self._acquire_fresh(self._construct(task), None)
        loaded = execute(self._file)
        try:
            name = None if self._file.attribute else self.env or task.env
            return await self._acquire_fresh(choose(loaded, name), loaded)
        except BaseException:
            unload(loaded)
            raise

    async def _acquire_live(self, live: _Live) -> tuple[Runtime, Callable[[], Awaitable[None]]]:
        live.users += 1
        turn = live.turn
        try:
            if turn is not None:
                await turn.acquire()
        except BaseException:
            await live.release()
            raise

        async def release() -> None:
            if turn is not None:
                turn.release()
            await live.release()

        try:
            if not live.is_open:
                await live.open(self._start)
        except BaseException:
            await release()
            raise
        return Runtime(live.url), release

    def _construct(self, task: Task) -> Environment:
        assert callable(self.source)
        try:
            env = self.source(task)
        except Exception as error:
            raise EnvironmentFault(
                f"the environment constructor raised {type(error).__qualname__}: {error}"
            ) from error
        if not isinstance(env, Environment):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"the constructor gave LocalRuntime no Environment but {env!r}")
        return env

    async def _acquire_fresh(
        self, env: Environment, loaded: Loaded | None
    ) -> tuple[Runtime, Callable[[], Awaitable[None]]]:
        server = EnvironmentServer(env)
        name = f"local-{next(_counter)}"

        async def release() -> None:
            LISTENERS.close(name)
            try:
                await server.aclose()
            finally:
                if loaded is not None:
                    unload(loaded)

        try:
            await self._start(server)
        except BaseException:
            await release()
            raise
        LISTENERS.listen(name, server.connection)
        return Runtime(f"memory://{name}"), release

    async def _start(self, server: EnvironmentServer) -> None:
        if not server.env.has_hooks:
            await server.start()
            return
        try:
            async with asyncio.timeout(self.ready_timeout):
                await server.start()
        except TimeoutError:
            raise EnvironmentFault(
                f"environment {server.env.name!r} was not ready within {self.ready_timeout:g} s",
                hint="raise ready_timeout, or look at its initialize hooks",
            ) from None


def named(argument: str | None, source: str | Path | None, env: str | None) -> Provider:
    """Return what `--runtime local` means."""
    no_argument("local", argument)
    assert source is not None
    return LocalRuntime(source, env=env)


class _Place:
    """One acquired place as a context manager.

    A class, because a generator-based one costs about 10 µs of event loop bookkeeping a rollout.
    """

    __slots__ = ("_owner", "_release", "_task")

    def __init__(self, owner: LocalRuntime, task: Task) -> None:
        self._owner = owner
        self._task = task
        self._release: Callable[[], Awaitable[None]] | None = None

    async def __aenter__(self) -> Runtime:
        runtime, self._release = await self._owner.acquire(self._task)
        return runtime

    async def __aexit__(self, *exc: object) -> None:
        release, self._release = self._release, None
        if release is not None:
            await release()


class _Live:
    """A live environment being served, once for all who use it in this event loop.

    It is started for the first user and stopped after the last, whichever runtimes they came
    through; somebody who comes while it stops starts it again.
    """

    _held: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, _Live]]] = (
        WeakKeyDictionary()
    )

    def __init__(self, env: Environment, beside: dict[int, _Live]) -> None:
        self.users = 0
        self.is_open = False
        self.url = ""
        self._env = env
        self._beside = beside
        self._name = ""
        self._server: EnvironmentServer | None = None
        self._changing = asyncio.Lock()
        # What episodes change (a workspace, a browser) is used by one of them at a time.
        self.turn = asyncio.Lock() if env.daemons.is_exclusive else None

    @classmethod
    def of(cls, env: Environment) -> _Live:
        """Return the one of this environment; count yourself among its users at once."""
        beside = cls._held.setdefault(asyncio.get_running_loop(), {})
        live = beside.get(id(env))
        if live is None:
            live = beside[id(env)] = cls(env, beside)
        return live

    async def open(self, start: Callable[[EnvironmentServer], Awaitable[None]]) -> None:
        """Start serving unless that has happened."""
        async with self._changing:
            if self.is_open:
                return
            server = EnvironmentServer(self._env)
            await start(server)
            self._server, self._name = server, f"live-{next(_counter)}"
            self.url = f"memory://{self._name}"
            LISTENERS.listen(self._name, server.connection)
            self.is_open = True

    async def release(self) -> None:
        """Be no user any more; the last one stops serving."""
        self.users -= 1
        if self.users:
            return
        async with self._changing:
            server, name = self._server, self._name
            if self.users == 0 and server is not None:
                self.is_open, self._server = False, None
                LISTENERS.close(name)
                await server.aclose()
            if self.users == 0:
                self._beside.pop(id(self._env), None)
