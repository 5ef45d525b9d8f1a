"""KubernetesRuntime: a pod per rollout, reached through the API server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import shutil
import uuid
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

from hud._core import processes
from hud._core.errors import HudError, RuntimeFault
from hud._core.finishing import unbroken
from hud.clients.connect import connect
from hud.environment.task import Task
from hud.runtimes.base import Provider, Runtime
from hud.runtimes.cloud.owner import this_machine
from hud.runtimes.door import Door
from hud.runtimes.kubernetes.api import Api
from hud.runtimes.kubernetes.pod import (
    HOST,
    MANAGED_BY,
    MANAGER,
    OWNER,
    PodShape,
    PodState,
    label_text,
)
from hud.runtimes.warm.source import OWNED_ROOM, short_folder
from hud.sandbox import folders

logger = logging.getLogger(__name__)

_ANSWER_S = 30.0
_DELETES = 3
_PAUSE_S = 0.5
_LOOK_S = 10.0
_NEWS_S = 0.2


class KubernetesRuntime:
    """Give every rollout a pod of its own.

    The pod serves the environment on its own loopback; control connections are port-forwards
    through the API server, so nothing is exposed in the cluster and no service is made. What a row
    asks (`runtime_config`: image, CPU, memory, storage, GPUs, limits) becomes the pod's requests
    and limits. A pod lives no longer than `shape.lifetime_s`; those of a process that was killed
    are deleted by the next one on the same machine.

    Also an async context manager, which `Taskset.run` enters around all rollouts.

    Attributes:
        shape: What every pod has in common.
        namespace: Where pods are made; the context's own when left out.
    """

    def __init__(
        self,
        image: str | None = None,
        *,
        namespace: str | None = None,
        context: str | None = None,
        ready_timeout: float = 300.0,
        shape: PodShape | None = None,
    ) -> None:
        """Choose what to run and where; nothing is asked yet.

        Args:
            image: For rows that name none.
            namespace: Where pods are made.
            context: Of the kubeconfig; without one, the pod this runs in, else the current one.
            ready_timeout: Seconds from the pod's creation until its environment answers.
            shape: Port, command, variables, labels and lifetime of the pods.

        Raises:
            ValueError: when `ready_timeout` is not positive.
        """
        if not ready_timeout > 0:
            raise ValueError(f"KubernetesRuntime: ready_timeout must be > 0, not {ready_timeout}")
        shape = shape or PodShape()
        self.shape = shape if image is None else _with_image(shape, image)
        self.namespace = namespace
        self.context = context
        self.ready_timeout = ready_timeout
        self._scope: _Scope | None = None
        self._users = 0
        self._changing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"KubernetesRuntime({self.shape.image!r})"

    async def __aenter__(self) -> KubernetesRuntime:
        async with self._changing:
            if self._scope is None:
                scope = _Scope(Api(self.namespace, self.context))
                try:
                    await scope.open()
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

    async def check(self) -> None:
        """Ask the cluster for the pods that are ours.

        Raises:
            InputError: when the client or a configuration is missing, or access is denied.
            RuntimeFault: when no cluster answers.
        """
        async with self:
            pass

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        manifest = self.shape.manifest(task, owner=_owner(), host=_host())
        limits = task.runtime_config.limits if task.runtime_config else None
        ready_s = self.ready_timeout
        if limits is not None and limits.startup_timeout_s is not None:
            ready_s = min(ready_s, limits.startup_timeout_s)
        async with self:
            scope = self._scope
            assert scope is not None
            place = _Place(scope.api, str(manifest["metadata"]["name"]), scope.directory)
            try:
                await place.open(manifest, self.shape.port, ready_s)
                params = {"ready_timeout": _ANSWER_S, "exit_reason": place.exit_reason}
                yield Runtime(place.url, params, task.runtime_config)
            finally:
                await unbroken(place.aclose())


class _Scope:
    """Everything between opening and closing a runtime."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.directory = (
            f"{short_folder(OWNED_ROOM)}/{folders.prefix_of('pods')}{uuid.uuid4().hex[:16]}"
        )

    async def open(self) -> None:
        """Connect, and delete what processes left here that were killed."""
        await asyncio.to_thread(folders.sweep_once)
        await self.api.open()
        Path(self.directory).mkdir(mode=0o700)
        for name, labels in await self.api.labelled(f"{MANAGED_BY}={MANAGER},{HOST}={_host()}"):
            if not _lives(labels.get(OWNER, "")):
                logger.warning("pod %s was left by a process that is gone: deleting it", name)
                await self.api.delete(name)

    async def aclose(self) -> None:
        await self.api.aclose()
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)


class ExitReason:
    """Why a pod ended; found as `runtime.params["exit_reason"]`."""

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self._name = name
        self.state = PodState()

    def __call__(self) -> str | None:
        """Return why, as far as it is known here."""
        return None if self.state.end is None else f"pod {self._name}: {self.state.end}"

    async def look(self) -> str | None:
        """Return the same, asking the API server."""
        try:
            self.state = await self._api.state(self._name)
        except HudError as error:
            return f"pod {self._name}: {error.message}"
        return self()

    async def wait(self, timeout_s: float = 5.0) -> str | None:
        """Return the same, asking until there is news: a pod's status follows its end."""
        try:
            async with asyncio.timeout(timeout_s):
                while (news := await self.look()) is None:  # noqa: ASYNC110 -- it tells nobody
                    await asyncio.sleep(_NEWS_S)
        except TimeoutError:
            return self()
        return news


class _Place:
    """One pod. `open`, then `aclose` in every case."""

    def __init__(self, api: Api, name: str, directory: str) -> None:
        self._api = api
        self._name = name
        self._path = f"{directory}/{name}"
        self.url = f"unix://{self._path}"
        self.exit_reason = ExitReason(api, name)
        self._door: Door | None = None
        self._watch: asyncio.Task[None] | None = None
        self._asked = False

    async def open(self, manifest: dict[str, object], port: int, timeout_s: float) -> None:
        """Make the pod, and return when its environment answers.

        Raises:
            InputError: when the pod is invalid.
            RuntimeFault: when it does not start, with the end of its log.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        self._asked = True
        await unbroken(self._api.create(manifest))
        state = await self._api.wait_running(self._name, timeout_s, self._note)
        if not state.is_running:
            why = state.end or f"not running within {timeout_s:g} s: {state.waits_for}"
            raise await self._failure(why)
        self._door = Door(lambda: self._api.way(self._name, port), self._path)
        await self._door.open()
        left = max(1.0, deadline - loop.time())
        params = {"ready_timeout": left, "exit_reason": self.exit_reason}
        asking = asyncio.ensure_future(self._greet(Runtime(self.url, params)))
        try:
            while not asking.done():
                await asyncio.wait([asking], timeout=_PAUSE_S)
                if not asking.done():
                    await self.exit_reason.look()  # what `connect` looks at before it tries again
            await asking
        except RuntimeFault as error:
            raise await self._failure(self.exit_reason.state.end or error.message) from error
        finally:
            asking.cancel()
            await asyncio.wait([asking])

        self._watch = asyncio.get_running_loop().create_task(self._wait_gone())

    async def _wait_gone(self) -> None:
        """Look at the pod now and then: a node that is lost closes no connection."""
        while self.exit_reason.state.end is None:
            await asyncio.sleep(_LOOK_S)
            await self.exit_reason.look()
        if self._door is not None:
            self._door.break_off()

    async def _greet(self, place: Runtime) -> None:
        async with connect(place):
            pass

    async def aclose(self) -> None:
        """Close the door and delete the pod, trying again where the API server fails."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        if self._door is not None:
            await self._door.aclose()
        if not self._asked:
            return
        for attempt in range(_DELETES):
            try:
                await self._api.delete(self._name)
                return
            except HudError as error:
                logger.warning("%s: %s", self._name, error.message)
                await asyncio.sleep(_PAUSE_S * 2**attempt)

    def _note(self, state: PodState) -> None:
        self.exit_reason.state = state

    async def _failure(self, why: str) -> RuntimeFault:
        printed = await self._api.log(self._name)
        tail = f"; it last printed: {printed}" if printed else ""
        return RuntimeFault(f"pod {self._name} did not start: {why}{tail}")


def _with_image(shape: PodShape, image: str) -> PodShape:
    return replace(shape, image=image)


def _host() -> str:
    # Machines and containers of one name are many, and each has processes of its own.
    return label_text(f"{platform.node()}-{this_machine()}")


def _owner() -> str:
    return label_text((processes.identity_of(os.getpid()) or f"{os.getpid()}:0").replace(":", "-"))


def _lives(owner: str) -> bool:
    """Tell whether the process of an owner label still lives on this machine."""
    pid, _, _ = owner.partition("-")
    if not pid.isdigit():
        return True  # of another kind of machine: not ours to judge
    identity = processes.identity_of(int(pid))
    return identity is not None and identity.replace(":", "-") == owner


def named(argument: str | None, source: str | Path | None, env: str | None) -> Provider:
    """Return what `--runtime kubernetes` and `--runtime kubernetes:IMAGE` mean."""
    return KubernetesRuntime(argument)
