"""Each rollout in a process of its own: the default placement of `hud eval`.

Processes are forked from a warm parent that has imported the source once; where that is unsafe
every rollout gets a fresh interpreter. How is in `hud.runtimes.warm`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud._core.errors import InputError
from hud._core.processes import LINUX
from hud.environment.environment import Environment
from hud.environment.loader import resolve
from hud.environment.task import Task
from hud.runtimes.base import Provider, Runtime, no_argument, refuse_config
from hud.runtimes.warm.link import Place
from hud.runtimes.warm.scope import Plan, Scope

logger = logging.getLogger(__name__)

_ANSWER_S = 30.0  # a place is ready when it is yielded: it answers, or it is gone


class ExitReason:
    """Why a rollout's process ended by itself; found as `runtime.params["exit_reason"]`."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __call__(self) -> str | None:
        """Return how the process ended, None while it lives or when it was told to end."""
        place = self._place
        if place.reason is None or not place.output:
            return place.reason
        return f"{place.reason}; it last printed: {place.output[-1_000:]}"

    async def wait(self, timeout_s: float = 1.0) -> str | None:
        """Return the same, waiting for the news that may follow a lost connection."""
        if not self._place.gone.done():
            await asyncio.wait([self._place.gone], timeout=timeout_s)
        return self()


class SubprocessRuntime:
    """Give every rollout its own process, forked from a parent that imported the source once.

    Nothing is shared between rollouts: module globals, random state (`random`, numpy and torch
    are reseeded, others through `@env.reseed`), the working of crashes, hangs and leaks.
    Initialize and shutdown hooks run in each process. When the place is left, its process and
    every descendant are gone.

    Also an async context manager, which `Taskset.run` enters around all rollouts: it owns the
    warm parent. A call without an open one opens one for itself, and imports the source for it.

    Attributes:
        source: As given: a file, a directory, `path.py:attribute` or a live environment.
        env: Which environment serves, when the source has several; else the row decides.
        ready_timeout: Seconds for the import, and again for a rollout's initialize hooks.
        fresh_reason: Why rollouts get fresh interpreters instead of forks; None while they do not.
    """

    def __init__(
        self,
        source: str | Path | Environment,
        *,
        env: str | None = None,
        ready_timeout: float = 120.0,
        fresh: bool | None = None,
    ) -> None:
        """Choose what to run; nothing is started yet.

        Args:
            source: A file, a directory, `path.py:attribute`, or a live environment whose
                templates were written in a file.
            env: Name of the environment, when the source has several.
            ready_timeout: Seconds for the import, and again for a rollout's initialize hooks.
            fresh: True starts a new interpreter for every rollout. False refuses to when the
                source cannot be forked safely. None does so only then, with one warning.

        Raises:
            ValueError: when `ready_timeout` is not positive.
        """
        if not ready_timeout > 0:
            raise ValueError(f"SubprocessRuntime: ready_timeout must be > 0, not {ready_timeout}")
        self.source = source
        self.env = source.name if env is None and isinstance(source, Environment) else env
        self.ready_timeout = ready_timeout
        self.fresh_reason: str | None = None
        if fresh:
            self.fresh_reason = "fresh=True was asked for"
        elif not LINUX:
            self.fresh_reason = f"{sys.platform} cannot fork safely"
        self._fresh = fresh
        self._scope: Scope | None = None
        self._users = 0

    def __repr__(self) -> str:
        return f"SubprocessRuntime({str(self.source)!r})"

    @property
    def parent_pid(self) -> int | None:
        """Process id of the current warm parent, None while there is none."""
        return None if self._scope is None else self._scope.parent_pid

    async def __aenter__(self) -> SubprocessRuntime:
        if self._scope is None:
            self._scope = Scope(self._plan(), unsafe=self.fresh_reason, on_unsafe=self._tell)
        self._users += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._users -= 1
        if self._users == 0:
            scope, self._scope = self._scope, None
            if scope is not None:
                await scope.aclose()

    async def warm_up(self) -> None:
        """Import the source now, rather than for the first rollout. Needs an open scope.

        Raises:
            InputError: when the source cannot be used.
            EnvironmentFault: when its own code fails.
            RuntimeFault: when no interpreter can be started.
        """
        if self._scope is None:
            raise RuntimeError("SubprocessRuntime: open its scope first: async with …")
        await self._scope.warm_up()

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        refuse_config(task, "SubprocessRuntime")
        async with self:
            scope = self._scope
            assert scope is not None
            async with scope.place(task.env) as place:
                params: dict[str, Any] = {
                    "ready_timeout": min(self.ready_timeout, _ANSWER_S),
                    "exit_reason": ExitReason(place),
                }
                yield Runtime(f"unix://{place.path}", params)

    def _plan(self) -> Plan:
        source = self.source
        path = source_file(source) if isinstance(source, Environment) else source
        return Plan(resolve(path), self.env, self.ready_timeout, self._fresh)

    def _tell(self, reason: str) -> None:
        self.fresh_reason = reason
        logger.warning(
            "%s, so each rollout gets a fresh interpreter (slower); "
            "do that in @env.initialize to avoid this",
            reason,
        )


def named(argument: str | None, source: str | Path | None, env: str | None) -> Provider:
    """Return what `--runtime subprocess` means."""
    no_argument("subprocess", argument)
    assert source is not None
    resolve(source)
    return SubprocessRuntime(source, env=env)


def source_file(env: Environment) -> Path:
    """Return the file a live environment's templates were written in.

    Raises:
        InputError: when there is none, as for templates typed into an interactive session.
    """
    for template in env.templates.values():
        path = Path(template.fn.__code__.co_filename)
        if path.is_file():
            return path
    raise InputError(
        f"environment {env.name!r} has no source file that another process could import",
        hint="give the path of its file: SubprocessRuntime('tasks.py')",
    )
