"""The driver's end of one actor: start it, place rollouts on it, learn that its node is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from hud._core.errors import EnvironmentFault, HudError, RuntimeFault
from hud._core.finishing import unbroken
from hud._version import __version__
from hud.runtimes.door import Door
from hud.runtimes.ray import greeting
from hud.runtimes.ray.cluster import answer
from hud.runtimes.ray.gate import GREET_S
from hud.runtimes.ray.keeper import Keeper, Opened, Order
from hud.runtimes.ray.way import Way, way_to
from hud.runtimes.warm.wire import Failed

_CLOSE_S = 15.0
_LEAVE_S = 20.0
_NEWS_S = 5.0
_CALLS = 10_000


@dataclass(frozen=True, slots=True)
class Kit:
    """What every actor of a runtime is made from.

    Attributes:
        archive: Ray's reference to the packed source.
        directory: This machine's folder for the places' sockets.
        runtime_env: Ray's, None for the cluster's own.
    """

    ray: Any
    order: Order
    archive: Any
    directory: str
    runtime_env: dict[str, Any] | None = None


class ExitReason:
    """Why a place on a node vanished; found as `runtime.params["exit_reason"]`."""

    def __init__(self, worker: Worker, name: bytes) -> None:
        self._worker = worker
        self._name = name
        self._known: str | None = None

    def __call__(self) -> str | None:
        """Return why, as far as it is known here."""
        return self._known or self._worker.lost

    async def wait(self, timeout_s: float = _NEWS_S) -> str | None:
        """Return why, asking the node, or waiting for the news that it is gone."""
        worker = self._worker
        try:
            async with asyncio.timeout(timeout_s):
                self._known = await answer(worker.actor.why.remote(self._name), "no answer")
        except (RuntimeFault, TimeoutError):
            if not worker.gone.done():
                await asyncio.wait([worker.gone], timeout=timeout_s)
            if worker.lost is None:
                return f"{worker.where} does not answer"
        return self()


@dataclass(eq=False, slots=True)
class Worker:
    """One actor. `start`, then `stop` in every case.

    Attributes:
        used: Rollouts on it now; `idle_since_s` is the loop's time when the last of them left.
        gone: Completes when the actor is gone, or was told to stop.
        lost: Why it is gone, when nobody told it to.
    """

    kit: Kit
    options: dict[str, Any]
    width: int
    used: int = 0
    idle_since_s: float = 0.0
    actor: Any = None
    opened: Opened | None = None
    lost: str | None = None
    gone: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    _doors: set[Door] = field(default_factory=set[Door])
    _watch: asyncio.Task[None] | None = None
    _stopping: bool = False

    @property
    def where(self) -> str:
        """Its node, in words."""
        if self.opened is None:
            return "a node of the Ray cluster"
        return f"node {self.opened.node[:12]} ({self.opened.host}) of the Ray cluster"

    @property
    def is_alive(self) -> bool:
        """Whether it is ready and not known to be gone."""
        return self.opened is not None and self.lost is None and not self._stopping

    async def start(self) -> None:
        """Have Ray start the actor when there is room, and wait until it is ready.

        Raises:
            InputError: when the source cannot be used.
            EnvironmentFault: when importing it fails.
            RuntimeFault: when the actor cannot be started, or its node has another hud.
        """
        kit = self.kit
        options = dict(self.options)
        if kit.runtime_env is not None:
            options["runtime_env"] = kit.runtime_env
        remote = kit.ray.remote(Keeper)
        self.actor = remote.options(
            max_concurrency=_CALLS,
            max_restarts=0,
            scheduling_strategy="SPREAD",
            **options,
        ).remote(kit.order, kit.archive)
        said = await answer(self.actor.open.remote(), "an actor could not be started")
        if isinstance(said, Failed):
            raise said.error()
        self._check(said)
        self.opened = said
        self._watch = asyncio.get_running_loop().create_task(self._wait_gone())

    @contextlib.asynccontextmanager
    async def place(self, env: str, timeout_s: float) -> AsyncGenerator[tuple[str, ExitReason]]:
        """Yield the path of a Unix socket that leads to a new place, and why it vanished."""
        opened = self.opened
        assert opened is not None
        name, secret = os.urandom(greeting.PLACE_BYTES), os.urandom(greeting.SECRET_BYTES)
        path = f"{self.kit.directory}/{name.hex()[:16]}"
        way = Way(opened.host, opened.port, name, secret)
        door = Door(lambda: way_to(way), path, open_s=GREET_S)
        self._doors.add(door)
        try:
            try:
                async with asyncio.timeout(timeout_s):
                    call = self.actor.place.remote(name, env, secret)
                    failed: Failed | None = await answer(call, f"{self.where} made no place")
            except TimeoutError:
                raise EnvironmentFault(
                    f"environment {env!r} was not ready within {timeout_s:g} s on {self.where}",
                    hint="raise ready_timeout, or startup_timeout_s in the row's limits",
                ) from None
            if failed is not None:
                raise failed.error()
            try:
                await door.open()
            except OSError as error:
                raise RuntimeFault(f"a place's socket could not be made: {error}") from error
            yield path, ExitReason(self, name)
        finally:
            self._doors.discard(door)
            await unbroken(self._leave(door, name))

    async def stop(self) -> None:
        """End the actor with everything on it."""
        self._stopping = True
        if not self.gone.done():
            self.gone.set_result(None)
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.wait([watch])
        if self.actor is None:
            return
        with contextlib.suppress(RuntimeFault, TimeoutError):
            if self.opened is not None and self.lost is None:
                async with asyncio.timeout(_CLOSE_S):
                    await answer(self.actor.aclose.remote(), "an actor did not close")
        actor, self.actor = self.actor, None
        with contextlib.suppress(Exception):
            self.kit.ray.kill(actor, no_restart=True)

    async def _leave(self, door: Door, name: bytes) -> None:
        await door.aclose()
        if self.lost is None and self.actor is not None:
            with contextlib.suppress(RuntimeFault, TimeoutError):
                async with asyncio.timeout(_LEAVE_S):
                    await answer(self.actor.leave.remote(name), "a place was not left")

    async def _wait_gone(self) -> None:
        """Wait for the end of the actor; then no connection to it is worth waiting on."""
        try:
            await answer(self.actor.closed.remote(), f"{self.where} is gone")
        except HudError as error:
            if not self._stopping:
                self.lost = error.message
        if not self.gone.done():
            self.gone.set_result(None)
        for door in list(self._doors):
            door.break_off()

    def _check(self, opened: Opened) -> None:
        """Refuse a node that runs something else than this process."""
        ours, theirs = (
            (__version__, platform.python_version_tuple()[:2]),
            (opened.version, tuple(opened.python.split(".")[:2])),
        )
        if ours != theirs:
            raise RuntimeFault(
                f"the node at {opened.host} has hud {opened.version} on Python {opened.python}, "
                f"this process hud {__version__} on Python {platform.python_version()}",
                hint="install the same on every node of the cluster",
            )
