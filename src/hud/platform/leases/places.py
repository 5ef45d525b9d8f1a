"""Places of builds: each build's provider stays open while it is used, and a while after.

An open provider is where a warm parent lives, so that the next place of the same build costs a
fork and not an import.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator

from hud._core.errors import HudError, RuntimeFault
from hud.environment.task import Task
from hud.platform.builds.placing import Built, as_deployed, provider_of
from hud.platform.screens.placed import PlacedRuns
from hud.runtimes.base import Provider, Runtime, provider_scope
from hud.sandbox.launch import sweep_orphans

logger = logging.getLogger(__name__)

IDLE_S = 120.0
"""How long a provider that nobody uses stays open."""


async def clear_up() -> None:
    """Remove what places of servers and workers left on this machine that were killed."""
    await asyncio.to_thread(sweep_orphans, os.getpid())


class _Open:
    """One build's provider, its scope held by a task of its own."""

    def __init__(self, built: Built) -> None:
        self.provider: Provider = provider_of(built)
        self.users = 0
        self.closing: asyncio.TimerHandle | None = None
        self._over = asyncio.Event()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._hold())

    async def _hold(self) -> None:
        try:
            async with provider_scope(self.provider):
                self._opened.set_result(None)
                await self._over.wait()
        except Exception as error:
            if self._opened.done():
                logger.warning("a provider of places ended badly: %s", error)
            else:
                self._opened.set_exception(error)

    async def opened(self) -> None:
        """Return once places can be asked for."""
        await asyncio.wait([self._opened])
        self._opened.result()

    def end(self) -> None:
        """Let the provider go."""
        if self.closing is not None:
            self.closing.cancel()
        self._over.set()


class Places:
    """Makes places of builds. For one event loop; closed by whoever made it.

    Attributes:
        runs: Where the rollouts of this process stand, on these places or others.
    """

    def __init__(self, *, idle_s: float = IDLE_S) -> None:
        self.runs = PlacedRuns()
        self._idle_s = idle_s
        self._open: dict[tuple[str, str], _Open] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def place(self, built: Built, task: Task) -> AsyncGenerator[Runtime]:
        """Yield a place of a build; leaving tears it down.

        Raises:
            RuntimeFault: when there is none to be had.
            EnvironmentFault: when the environment's own code failed.
            InputError: when the task asks for what the place cannot give.
        """
        if self._is_closed:
            raise RuntimeFault("this worker is ending")
        task = as_deployed(built, task)
        key = (built.team, built.build_id)
        entry = self._open.get(key)
        if entry is None:
            entry = self._open[key] = _Open(built)
        entry.users += 1
        if entry.closing is not None:
            entry.closing.cancel()
            entry.closing = None
        try:
            try:
                await entry.opened()
            except HudError:
                self._forget(key, entry)
                raise
            async with entry.provider(task) as place:
                yield place
        finally:
            entry.users -= 1
            if entry.users == 0 and self._open.get(key) is entry:
                loop = asyncio.get_running_loop()
                entry.closing = loop.call_later(self._idle_s, self._forget, key, entry)

    def _forget(self, key: tuple[str, str], entry: _Open) -> None:
        if self._open.get(key) is entry:
            del self._open[key]
        entry.end()
        if not entry.task.done():
            self._ending.add(entry.task)
            entry.task.add_done_callback(self._ending.discard)

    async def aclose(self) -> None:
        """Let every provider go and wait until it has."""
        self._is_closed = True
        for key, entry in list(self._open.items()):
            self._forget(key, entry)
        if self._ending:
            await asyncio.wait(list(self._ending))
