"""Each rollout behind a wall of its own making: forks of a warm parent inside a bundle's root.

What a bundle is and how the wall is made is `hud.packaging`; the forks are `hud.runtimes.warm`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hud._core.errors import InputError, RuntimeFault
from hud.environment.loader import Source
from hud.environment.runtime_config import RuntimeConfig
from hud.environment.task import Task
from hud.packaging import inside
from hud.packaging.bundle import Bundle, build_bundle, load_bundle, note_used
from hud.packaging.root import Ask, Root, problem
from hud.runtimes.base import Provider, Runtime
from hud.runtimes.subprocess import ExitReason
from hud.runtimes.warm.scope import Plan, Scope

logger = logging.getLogger(__name__)

_ANSWER_S = 30.0


class BundleRuntime:
    """Run a bundle's environment in a bubblewrap root, each rollout a fork with its own layer.

    The environment sees the system's programs, this Python and the bundle, all read-only; what a
    rollout writes lies in memory that goes with it. It has pids, a loopback and an unprivileged
    user of its own, and no network unless asked. Rollouts share nothing but what the source did
    while it was imported. A task that asks for resources gets a root of its own, which takes an
    import, because limits are enforced on a root as a whole.

    Also an async context manager, which `Taskset.run` enters around all rollouts: it owns the
    root. A call without an open one opens one for itself.

    Attributes:
        bundle: As given; a source that is not built yet is built at first use.
        fresh_reason: Why rollouts get fresh interpreters instead of forks; None while they do not.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        env: str | None = None,
        ready_timeout: float = 120.0,
        env_vars: Mapping[str, str] | None = None,
        runtime_config: RuntimeConfig | None = None,
        network: bool = False,
        warm: int = 0,
        store: Path | None = None,
        memory_ceiling_mb: int | None = None,
    ) -> None:
        """Choose what to run; nothing is started yet.

        Args:
            bundle: A bundle, its address (`bundle:<sha256>` or the first 8 digits), its folder,
                or the folder or file of a source.
            env: Name of the environment, when the source has several; else the row decides.
            ready_timeout: Seconds for the import, and again for a rollout's initialize hooks.
            env_vars: Variables the environment gets; it sees none of this process's.
            runtime_config: What every place gets that its task does not ask otherwise.
            network: Give it this machine's network, loopback included. For code you trust.
            warm: Above 0, the source is imported as soon as the scope is open.
            store: Where bundles are kept; `HUD_HOME/bundles` otherwise.
            memory_ceiling_mb: What all rollouts together may use that ask for no memory of their
                own, in MiB; half of this machine's when left out.

        Raises:
            ValueError: when `ready_timeout` is not positive, or `warm` is negative.
        """
        if not ready_timeout > 0:
            raise ValueError(f"BundleRuntime: ready_timeout must be > 0, not {ready_timeout}")
        if warm < 0:
            raise ValueError(f"BundleRuntime: warm must be at least 0, not {warm}")
        self.bundle = bundle
        self.env = env
        self.ready_timeout = ready_timeout
        self.warm = warm
        self.fresh_reason: str | None = None
        self._config = runtime_config
        self._ask = Ask(network=network, env=dict(env_vars or {}), ceiling_mb=memory_ceiling_mb)
        self._store = store
        self._made = bundle if isinstance(bundle, Bundle) else None
        self._making = asyncio.Lock()
        self._scope: Scope | None = None
        self._users = 0

    def __repr__(self) -> str:
        return f"BundleRuntime({str(self.bundle)!r})"

    @property
    def parent_pid(self) -> int | None:
        """Process id, on the host, of what holds the current root; None while there is none."""
        return None if self._scope is None else self._scope.parent_pid

    async def check(self) -> None:
        """Find the bundle that is named; one of a source is built when it is needed.

        Raises:
            InputError: when there is none, or it cannot be used.
        """
        if not _is_source(str(self.bundle)):
            await self._built()

    async def __aenter__(self) -> BundleRuntime:
        self._users += 1
        try:
            if self.warm:
                await (await self._shared()).warm_up()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._users -= 1
        if self._users == 0:
            scope, self._scope = self._scope, None
            if scope is not None:
                await scope.aclose()

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        ask, timeout_s = self._asked(task)
        async with self, self._scope_for(ask, timeout_s) as scope, scope.place(task.env) as place:
            params: dict[str, Any] = {
                "ready_timeout": min(timeout_s, _ANSWER_S),
                "exit_reason": ExitReason(place),
            }
            yield Runtime(f"unix://{place.path}", params, config=task.runtime_config)

    @contextlib.asynccontextmanager
    async def _scope_for(self, ask: Ask, timeout_s: float) -> AsyncGenerator[Scope]:
        if ask == self._ask and timeout_s == self.ready_timeout:
            yield await self._shared()
            return
        scope = await self._open(ask, timeout_s)
        try:
            yield scope
        finally:
            await scope.aclose()

    async def _shared(self) -> Scope:
        async with self._making:
            if self._scope is None:
                self._scope = await self._open(self._ask, self.ready_timeout)
            return self._scope

    async def _open(self, ask: Ask, timeout_s: float) -> Scope:
        bundle = await self._built()
        path, _, attribute = bundle.lock.source.partition(":")
        source = Source(Path(inside.SOURCE) / path, attribute or None)
        plan = Plan(source, self.env, timeout_s, None, lambda: Root(bundle.folder, ask))
        return Scope(plan, unsafe=self.fresh_reason, on_unsafe=self._tell)

    async def _built(self) -> Bundle:
        if self._made is None:
            named = str(self.bundle)
            try:
                self._made = await asyncio.to_thread(load_bundle, named, store=self._store)
            except InputError:
                if not _is_source(named):
                    raise
                self._made = await build_bundle(
                    named, store=self._store, env=self.env, variables=dict(self._ask.env or {})
                )
            await asyncio.to_thread(note_used, self._made.folder)
        return self._made

    def _asked(self, task: Task) -> tuple[Ask, float]:
        """Return what a task's place is to have, or refuse before anything is started."""
        if (reason := problem()) is not None:
            raise RuntimeFault(
                f"BundleRuntime cannot run here: {reason}",
                hint="install bubblewrap (Debian: apt-get install bubblewrap)",
            )
        config = self._config
        if task.runtime_config is not None:
            config = (config or RuntimeConfig()).with_overrides(task.runtime_config)
        if config is None:
            return self._ask, self.ready_timeout
        ask, timeout_s = self._ask, self.ready_timeout
        resources = config.resources
        wants = {
            "image": config.image,
            "compose": getattr(config, "compose", None),
            "gpu": None if resources is None else resources.gpu,
            "tpu": None if resources is None else resources.tpu,
            "os": None if resources is None or resources.os in (None, "linux") else resources.os,
        }
        if refused := [name for name, asked in wants.items() if asked is not None]:
            raise InputError(
                f"task {task.slug!r} asks for {', '.join(refused)}, which BundleRuntime has not",
                hint="run it in another runtime, or remove that from its runtime_config",
            )
        if resources is not None:
            ask = replace(
                ask,
                memory_mb=resources.memory_mb,
                cpus=resources.cpu,
                disk_mb=resources.storage_mb or ask.disk_mb,
            )
        if config.limits is not None and config.limits.startup_timeout_s is not None:
            timeout_s = float(config.limits.startup_timeout_s)
        return ask, timeout_s

    def _tell(self, reason: str) -> None:
        self.fresh_reason = reason
        logger.warning(
            "%s, so each rollout gets a fresh interpreter (slower); "
            "do that in @env.initialize to avoid this",
            reason,
        )


def _is_source(named: str) -> bool:
    path, _, attribute = named.rpartition(":")
    return Path(named).exists() or (attribute.isidentifier() and Path(path).is_file())


def named(argument: str | None, source: str | Path | None, env: str | None) -> Provider:
    """Return what `--runtime bundle` means: a bundle's address, or the source at hand."""
    chosen = argument or source
    if chosen is None:
        raise InputError(
            "--runtime bundle needs a bundle or a source",
            hint="name one: --runtime bundle:<address>, or give the source's folder",
        )
    return BundleRuntime(chosen, env=env)
