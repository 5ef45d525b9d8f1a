"""The engine that places a platform's environments on the nodes of a Ray cluster.

The agents work in this process, as with the embedded engine; what a build does runs on the nodes,
behind its bundle's wall. One runtime is held for each build, whose actors end by themselves when
they idle.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from hud._core.errors import InputError, bounded
from hud.environment.task import Task
from hud.packaging.bundle import PREFIX, load_bundle
from hud.platform.builds.placing import Built, as_deployed
from hud.platform.errors import ApiError
from hud.platform.leases.places import Places
from hud.platform.rollouts.engine import Engine, FindBuilt, play_order
from hud.platform.rollouts.order import ModelGateway, Order
from hud.platform.screens.placed import PlacedRuns
from hud.runtimes.base import Runtime
from hud.runtimes.ray import RayRuntime
from hud.runtimes.ray.cluster import Cluster
from hud.trace.sinks import Sink

NAME = "ray"
_BUILDS = 64


class RayEngine:
    """Carries orders out with their environments on a cluster. See `Engine`."""

    def __init__(
        self, address: str | None, find_built: FindBuilt, placed: PlacedRuns, *, width: int
    ) -> None:
        self.width = width
        self._address = address
        self._find_built = find_built
        self._placed = placed
        self._cluster = Cluster(address)
        self._held: OrderedDict[tuple[str, str], _Held] = OrderedDict()
        self._changing = asyncio.Lock()

    async def __aenter__(self) -> RayEngine:
        await self._cluster.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        held, self._held = self._held, OrderedDict()
        try:
            await asyncio.gather(*(one.stack.aclose() for one in held.values()))
        finally:
            await self._cluster.aclose()

    async def play(self, order: Order, gateway: ModelGateway | None, sink: Sink) -> bool:
        """See `Engine.play`."""
        return await play_order(order, gateway, sink, _Builds(self, order.team), self._placed)

    @asynccontextmanager
    async def place(self, team: str, task: Task) -> AsyncGenerator[Runtime]:
        """Yield a place of the latest build of a team's environment.

        Raises:
            InputError: when there is none, or none that runs on Ray.
            RuntimeFault: when the cluster has no place for it.
        """
        try:
            built = await asyncio.to_thread(self._find_built, team, task.env)
        except ApiError as error:
            raise InputError(error.message, hint=error.hint) from error
        task = as_deployed(built, task)
        held = await self._runtime(built)
        held.users += 1
        try:
            async with held.runtime(task) as place:
                yield place
        finally:
            held.users -= 1

    async def _runtime(self, built: Built) -> _Held:
        key = (built.team, built.build_id)
        async with self._changing:
            held = self._held.get(key)
            if held is None:
                await self._forget_old()
                held = self._held[key] = await self._open(built)
            self._held.move_to_end(key)
            return held

    async def _open(self, built: Built) -> _Held:
        if not built.uri.startswith(PREFIX):
            raise InputError(
                f"environment {built.environment!r} was built as {bounded(built.uri)!r}, "
                "which the engine ray does not run",
                hint="build it as a bundle",
            )
        bundle = await asyncio.to_thread(load_bundle, built.uri, store=built.bundles)
        variables = {"env_vars": dict(built.variables)} if built.variables else None
        runtime = RayRuntime(bundle, address=self._address, runtime_env=variables)
        stack = AsyncExitStack()
        await stack.enter_async_context(runtime)
        return _Held(runtime, stack)

    async def _forget_old(self) -> None:
        """Let go of the builds that were not used for longest, when there are many."""
        for key in [key for key, held in self._held.items() if held.users == 0]:
            if len(self._held) < _BUILDS:
                return
            await self._held.pop(key).stack.aclose()


class _Held:
    """One build's runtime, open."""

    def __init__(self, runtime: RayRuntime, stack: AsyncExitStack) -> None:
        self.runtime = runtime
        self.stack = stack
        self.users = 0


class _Builds:
    """Places each task in the latest build of its environment, as one team has deployed it."""

    def __init__(self, engine: RayEngine, team: str) -> None:
        self._engine = engine
        self._team = team

    @asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        async with self._engine.place(self._team, task) as place:
            yield place


def make(name: str, places: Places, find_built: FindBuilt, width: int) -> Engine:
    """Return what `ray`, `ray:HOST:PORT` and `ray://HOST:PORT` mean."""
    address = name if name.startswith(f"{NAME}://") else name.partition(":")[2] or None
    return RayEngine(address, find_built, places.runs, width=width)
