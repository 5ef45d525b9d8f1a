"""RayRuntime: rollouts on the nodes of a Ray cluster, the agent in this process.

Control connections go from here to the node a rollout runs on, so this process has to be on the
cluster's network.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud._core import processes
from hud._core.errors import InputError
from hud.environment.environment import Environment
from hud.environment.loader import Source, resolve
from hud.environment.task import Task
from hud.packaging.archive import pack
from hud.packaging.bundle import PREFIX, Bundle, load_bundle
from hud.packaging.context import Limits, read_context
from hud.runtimes.base import Provider, Runtime
from hud.runtimes.ray.asks import Asks
from hud.runtimes.ray.cluster import Cluster
from hud.runtimes.ray.keeper import Order
from hud.runtimes.ray.pool import Pool, Size
from hud.runtimes.ray.worker import Kit
from hud.runtimes.subprocess import source_file
from hud.runtimes.warm.source import OWNED_ROOM, short_folder
from hud.sandbox import folders

_ANSWER_S = 30.0  # a place is ready when it is yielded: it answers, or it is gone
_SOURCE = Limits(files=20_000, total_bytes=256 << 20)


class RayRuntime:
    """Place every rollout in a process of its own on a node of a Ray cluster.

    Actors stay for the rollouts to come: each holds the source imported, so that a rollout costs
    one call and a fork. An actor holds what `width` rollouts ask (`runtime_config.resources`: CPU,
    memory, GPUs; one CPU where nothing is asked), and Ray's scheduler decides where it fits. Ray
    counts CPU and memory, it does not enforce them.

    The source's folder travels as an archive (ignored files and secrets do not); every node needs
    the same hud and what the source imports. A node that is lost ends its rollouts with the
    outcome `runtime`.

    Also an async context manager, which `Taskset.run` enters around all rollouts: it owns the
    actors. A call without an open one opens one for itself.

    Attributes:
        source: As given: a file, a directory, `path.py:attribute` or a live environment.
        address: The cluster, as Ray names it; see `__init__`.
    """

    def __init__(
        self,
        source: str | Path | Environment | Bundle,
        *,
        address: str | None = None,
        env: str | None = None,
        width: int = 1,
        actors: int | None = None,
        warm: int = 0,
        ready_timeout: float = 120.0,
        runtime_env: dict[str, Any] | None = None,
    ) -> None:
        """Choose what to run and where; nothing is started yet.

        Args:
            source: A file, a directory, `path.py:attribute`, a live environment whose templates
                were written in a file, or a bundle (`bundle:<sha256>`), which runs behind its wall
                on the nodes and needs bubblewrap there.
            address: `host:port`, `auto` or `ray://host:port`; RAY_ADDRESS when left out, and
                without that a Ray is started on this machine for as long as the runtime is open.
            env: Name of the environment, when the source has several.
            width: Rollouts at once on one actor, which then holds so many times what each asks.
            actors: How many actors there may be; else as many as the nodes have room for. To be
                given where the cluster grows on demand.
            warm: How many actors to start when the runtime is opened.
            ready_timeout: Seconds for the import, for a rollout's initialize hooks, and to wait
                for room while others hold the whole cluster.
            runtime_env: Ray's, for the actors: `{"pip": […]}`, `{"env_vars": {…}}`. The variables
                are what a bundle's environment gets, too.

        Raises:
            ValueError: when a number is not positive.
        """
        for name, value in (("width", width), ("actors", actors), ("ready_timeout", ready_timeout)):
            if value is not None and not value > 0:
                raise ValueError(f"RayRuntime: {name} must be > 0, not {value}")
        if warm < 0:
            raise ValueError(f"RayRuntime: warm must not be negative, not {warm}")
        self.source = source
        self.address = address
        self.env = source.name if env is None and isinstance(source, Environment) else env
        self.ready_timeout = ready_timeout
        self.runtime_env = runtime_env
        self._size = Size(width, actors, ready_timeout)
        self._warm = warm
        self._scope: _Scope | None = None
        self._users = 0
        self._changing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"RayRuntime({str(self.source)!r}, address={self.address!r})"

    async def __aenter__(self) -> RayRuntime:
        async with self._changing:
            if self._scope is None:
                scope = _Scope(self.address, self._size)
                try:
                    await scope.open(self._find(), self.env, self.runtime_env)
                    if self._warm:
                        await scope.pool(Asks()).warm_up(self._warm)
                except BaseException:
                    await scope.aclose()
                    raise
                self._scope = scope
            self._users += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        async with self._changing:
            self._users -= 1
            if self._users == 0:
                scope, self._scope = self._scope, None
                if scope is not None:
                    await scope.aclose()

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        asks = Asks.of(task)
        limits = task.runtime_config.limits if task.runtime_config else None
        ready_s = self.ready_timeout + _ANSWER_S
        if limits is not None and limits.startup_timeout_s is not None:
            ready_s = min(ready_s, limits.startup_timeout_s)
        async with self:
            scope = self._scope
            assert scope is not None
            async with (
                scope.pool(asks).slot() as worker,
                worker.place(task.env, ready_s) as (path, exit_reason),
            ):
                params = {"ready_timeout": _ANSWER_S, "exit_reason": exit_reason}
                yield Runtime(f"unix://{path}", params, task.runtime_config)

    async def check(self) -> None:
        """Find out whether Ray is installed and something listens at the address.

        Raises:
            InputError: when Ray is not installed, or the address is none.
            RuntimeFault: when nothing listens there.
        """
        await Cluster(self.address).check()

    async def fill(self, task: Task) -> None:
        """Wait until the actors that `warm` asks for stand, while the runtime is entered."""
        if self._scope is not None:
            await self._scope.pool(Asks.of(task)).started()

    def _find(self) -> Source | Bundle:
        source = self.source
        if isinstance(source, Bundle):
            return source
        if isinstance(source, str) and source.startswith(PREFIX):
            return load_bundle(source)
        return resolve(source_file(source) if isinstance(source, Environment) else source)


class _Scope:
    """Everything between opening and closing a runtime. `open`, then `aclose` in every case."""

    def __init__(self, address: str | None, size: Size) -> None:
        self._cluster = Cluster(address)
        self._size = size
        self._directory = (
            f"{short_folder(OWNED_ROOM)}/{folders.prefix_of('nodes')}{uuid.uuid4().hex[:16]}"
        )
        self._pools: dict[Asks, Pool] = {}
        self._kit: Kit | None = None

    async def open(
        self, source: Source | Bundle, env: str | None, runtime_env: dict[str, Any] | None
    ) -> None:
        """Connect and hand the packed source over to Ray.

        Raises:
            InputError: when Ray is not installed, or the source cannot be packed.
            RuntimeFault: when no cluster answers.
        """
        await asyncio.to_thread(folders.sweep_once)
        archive = await asyncio.to_thread(_packed, source)
        await self._cluster.open()
        Path(self._directory).mkdir(mode=0o700)
        ray = self._cluster.ray
        is_bundle = isinstance(source, Bundle)
        order = Order(
            path="" if is_bundle else source.path.name,
            attribute=None if is_bundle else source.attribute,
            env=env,
            bundle=source.address if is_bundle else None,
            env_vars=dict((runtime_env or {}).get("env_vars", {})),
            ready_timeout_s=self._size.ready_timeout_s,
            folder_prefix=f"hud-ray-{_owner()}-",
        )
        if is_bundle and runtime_env is not None:
            # Ray shows its own to whoever looks at the cluster; a bundle's may be secret.
            runtime_env = {k: v for k, v in runtime_env.items() if k != "env_vars"} or None
        reference = await asyncio.to_thread(ray.put, archive)
        self._kit = Kit(ray, order, reference, self._directory, runtime_env)

    def pool(self, asks: Asks) -> Pool:
        """Return the actors for these asks."""
        pool = self._pools.get(asks)
        if pool is None:
            assert self._kit is not None
            pool = Pool(self._cluster, self._kit, asks, self._size, self._others)
            self._pools[asks] = pool
        return pool

    async def aclose(self) -> None:
        """End every actor, and leave the cluster."""
        try:
            await asyncio.gather(*(pool.aclose() for pool in self._pools.values()))
        finally:
            self._pools.clear()
            self._kit = None
            await self._cluster.aclose()
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    def _others(self, pool: Pool) -> list[Pool]:
        return [other for other in self._pools.values() if other is not pool]


def _packed(source: Source | Bundle) -> bytes:
    if isinstance(source, Bundle):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
            tar.add(source.folder, source.address)
        return archive.getvalue()
    with tempfile.TemporaryDirectory(prefix=folders.prefix_of("pack")) as folder:
        context = read_context(source.root, _SOURCE)
        if source.path.name not in context.names():
            raise InputError(
                f"{source.path.name} is among the files that are not sent to other machines",
                hint="see .gitignore and .dockerignore beside it",
            )
        return pack(context, Path(folder, "source.tar.gz")).path.read_bytes()


def _owner() -> str:
    """Return a name for this process that no later one has, fit for a file's name."""
    return (processes.identity_of(os.getpid()) or str(os.getpid())).replace(":", "-")


def named(argument: str | None, source: str | Path | None, env: str | None) -> Provider:
    """Return what `--runtime ray` and `--runtime ray:ADDRESS` mean."""
    assert source is not None
    resolve(source)
    return RayRuntime(source, address=argument, env=env)
