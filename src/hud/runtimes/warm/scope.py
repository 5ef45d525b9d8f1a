"""All rollouts between opening and closing a runtime: one warm parent, replaced when it dies.

Decides whether rollouts are forked or get fresh interpreters, and when to give up on starting.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
import sys
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hud._core.errors import EnvironmentFault, HudError, InputError, RuntimeFault
from hud.environment.loader import Source
from hud.runtimes.warm.link import Link, Place
from hud.runtimes.warm.source import OWNED_ROOM, SHORT_ROOM, short_folder
from hud.runtimes.warm.wire import Load
from hud.sandbox import folders

if TYPE_CHECKING:
    from hud.packaging.root import Root

logger = logging.getLogger(__name__)

STOP_GRACE_S = 5.0
_STARTS_WITHOUT_SUCCESS = 5
_FIRST_BACKOFF_S = 0.05
_GONE_S = STOP_GRACE_S + 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a runtime was asked to run, with its paths resolved.

    Attributes:
        wall: Makes the wall that a warm parent is to be behind, where the source's path is then;
            None for a process like any other.
    """

    source: Source
    env: str | None
    ready_timeout_s: float
    fresh: bool | None
    wall: Callable[[], Root] | None = None


class Scope:
    """Own a private directory and the current warm parent. `aclose` in every case."""

    def __init__(self, plan: Plan, *, unsafe: str | None, on_unsafe: Callable[[str], None]) -> None:
        self._plan = plan
        self._unsafe = unsafe
        self._on_unsafe = on_unsafe
        # What a guard does not remove has to say whose it is.
        is_plain = plan.wall is None
        prefix = "hud-" if is_plain else folders.prefix_of("bundle")
        top = short_folder(SHORT_ROOM if is_plain else OWNED_ROOM)
        self._directory = f"{top}/{prefix}{uuid.uuid4().hex[:16]}"
        self._made = False
        self._ids = itertools.count(1)
        self._link: Link | None = None
        self._starting: asyncio.Task[Link] | None = None
        self._failure: HudError | None = None
        self._starts = 0

    @property
    def parent_pid(self) -> int | None:
        """Process id of the current warm parent, None while there is none."""
        return None if self._link is None else self._link.pid

    async def warm_up(self) -> None:
        """Start the warm parent now; what can go wrong is what `place` says."""
        await self._current()

    @contextlib.asynccontextmanager
    async def place(self, env: str) -> AsyncGenerator[Place]:
        """Yield a process of its own for one rollout; when the block ends it is gone.

        Raises:
            InputError: when the source or the environment in it cannot be used.
            EnvironmentFault: when its own code fails, or is not ready in time.
            RuntimeFault: when the process cannot be started or dies first.
        """
        link = await self._current()
        id = next(self._ids)
        place = link.place(id, f"{self._directory}/{id:x}", self._plan.env or env)
        try:
            limit = self._plan.ready_timeout_s
            await asyncio.wait([place.ready], timeout=limit)
            if not place.ready.done():
                raise EnvironmentFault(
                    f"environment {env!r} was not ready within {limit:g} s",
                    hint="its initialize hooks must end; give a longer ready_timeout if need be",
                )
            place.ready.result()
            yield place
        finally:
            link.stop(place)
            await _settled(place.gone, _GONE_S)

    async def aclose(self) -> None:
        """End the warm parent and everything below it, and remove the directory."""
        starting, self._starting = self._starting, None
        link, self._link = self._link, None
        try:
            if starting is not None:
                starting.cancel()
                await asyncio.wait([starting])
            if link is not None:
                await link.aclose()
        finally:
            if self._made:
                shutil.rmtree(self._directory, ignore_errors=True)

    async def _current(self) -> Link:
        """Return a living warm parent; many waiters share one start, and none can cancel it."""
        if self._failure is not None:
            raise _again(self._failure)
        if self._link is not None and self._link.is_usable:
            return self._link
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
            self._starting.add_done_callback(self._started)
        try:
            return await asyncio.shield(self._starting)
        except HudError as error:
            raise _again(error) from error

    def _started(self, task: asyncio.Task[Link]) -> None:
        if self._starting is task:
            self._starting = None
        if not task.cancelled():
            task.exception()

    async def _start(self) -> Link:
        """Start a warm parent, after a pause when others died without serving one rollout."""
        old, self._link = self._link, None
        if old is not None:
            await old.aclose()
            if old.succeeded:
                self._starts = 0
        if self._starts >= _STARTS_WITHOUT_SUCCESS:
            self._failure = RuntimeFault(
                f"{self._plan.source.path.name}: {self._starts} interpreters in a row died "
                f"before they served a rollout; the last: {old.lost if old else 'none started'}"
            )
            raise self._failure
        if self._starts:
            await asyncio.sleep(_FIRST_BACKOFF_S * 2 ** (self._starts - 1))
        self._starts += 1
        try:
            self._link = await self._open()
        except (InputError, EnvironmentFault) as error:
            self._failure = error
            raise
        return self._link

    async def _open(self) -> Link:
        if self._unsafe is None:
            link = await self._open_one(fresh=False)
            if isinstance(link, Link):
                return link
            self._refuse_or_tell(link)
        link = await self._open_one(fresh=True)
        assert isinstance(link, Link)
        return link

    async def _open_one(self, *, fresh: bool) -> Link | str:
        """Start one parent and return it, or the reason why it must not be forked."""
        wall = self._plan.wall
        link = Link(self._order(fresh=fresh), None if wall is None else wall())
        try:
            unsafe = await link.start(self._plan.ready_timeout_s)
            if unsafe is None:
                self._make_directory()
                return link
        except BaseException:
            await link.aclose()
            raise
        await link.aclose()
        return unsafe

    def _make_directory(self) -> None:
        """Make the folder of the sockets, for this user only.

        Not before the warm parent can remove it: an eval process may be killed at any time.
        """
        if self._made:
            return
        try:
            os.mkdir(self._directory, 0o700)  # noqa: PTH102 -- its mode is what matters
        except OSError as error:
            raise RuntimeFault(f"a folder for sockets could not be made: {error}") from error
        self._made = True

    def _refuse_or_tell(self, why: str) -> None:
        name = self._plan.source.path.name
        if self._plan.fresh is False:
            self._failure = RuntimeFault(
                f"{name} {why}, so it cannot be forked",
                hint="move that into @env.initialize, or leave out fresh=False",
            )
            raise self._failure
        self._unsafe = f"{name} {why}"
        self._on_unsafe(self._unsafe)

    def _order(self, *, fresh: bool) -> Load:
        source, walled = self._plan.source, self._plan.wall is not None
        return Load(
            path=str(source.path),
            attribute=source.attribute,
            env=self._plan.env,
            search=[] if walled else [entry for entry in sys.path if entry],
            directory=self._directory,
            parent=0 if walled else os.getpid(),
            grace_s=STOP_GRACE_S,
            fresh=fresh,
            verbose=logger.isEnabledFor(logging.DEBUG),
            walled=walled,
        )


def _again(error: HudError) -> HudError:
    """Return the same error anew, so that raising it many times piles up no tracebacks."""
    return type(error)(error.message, hint=error.hint)


async def _settled(gone: asyncio.Future[None], timeout_s: float) -> None:
    """Wait for a process to be gone, through a cancellation too, which is raised afterwards."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    cancelled: asyncio.CancelledError | None = None
    while not gone.done():
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            logger.warning("a rollout's process could not be ended within %g s", timeout_s)
            break
        try:
            await asyncio.wait([gone], timeout=left)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
