"""Each rollout in a container of its own, of an image that `hud build` made, or in a project.

Containers have no network unless asked: the control port is a Unix socket in a folder they share
with this process. How one lives is `place`, what they have in common `scope`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hud._core.errors import InputError, bounded
from hud.environment.compose import ComposeProject
from hud.environment.compose_file import find_compose_file
from hud.environment.runtime_config import RuntimeConfig
from hud.environment.task import Task
from hud.packaging.docker.engine import find_engine
from hud.packaging.docker.names import image_name
from hud.runtimes.base import Provider, Runtime
from hud.runtimes.docker.asks import PROCESSES, limit_options
from hud.runtimes.docker.images import Images
from hud.runtimes.docker.place import Ask, DockerPlace
from hud.runtimes.docker.projects import Projects, every_service
from hud.runtimes.docker.scope import Scope
from hud.runtimes.docker.seccomp import write_profile
from hud.runtimes.docker.walls import opening_options, user_of
from hud.runtimes.pool import Warm

STARTUP_S = 120.0
_ANSWER_S = 30.0
_LOG = ("--log-driver", "json-file", "--log-opt", "max-size=8m", "--log-opt", "max-file=1")


class ExitReason:
    """Why a rollout's container ended by itself; found as `runtime.params["exit_reason"]`."""

    def __init__(self, place: DockerPlace) -> None:
        self._place = place

    def __call__(self) -> str | None:
        """Return how the container ended, None while it lives as far as is known."""
        gone = self._place.gone
        return gone.result() if gone.done() else None

    async def wait(self, timeout_s: float = 2.0) -> str | None:
        """Return the same with the end of its log, waiting for the news."""
        return await self._place.exit_reason(timeout_s)


class DockerRuntime:
    """Give every rollout its own container, which is removed when the place is left.

    A row's `runtime_config` chooses another image, resources and limits; it wins over the one
    given here. Also an async context manager, which `Taskset.run` enters around all rollouts: it
    owns the warm containers and what removes them should this process be killed.

    Attributes:
        image: What runs where a row names none; the one named after the row's environment if None.
        port: TCP port that the environment also serves inside its container.
        network: The container's network, as `docker run --network` takes it.
        warm: How many containers are kept started ahead, for each image and configuration used.
        compose_service_socket: A socket of the container engine that the main service of a Compose
            project is given when its row asks for `service_access`. Whoever holds it commands the
            engine, so it is for projects that are trusted, or the socket of a filter before it.
    """

    def __init__(
        self,
        image: str | None = None,
        *,
        port: int = 8765,
        run_args: Sequence[str] = (),
        compose_service_socket: str | Path | None = None,
        runtime_config: RuntimeConfig | dict[str, Any] | None = None,
        env_vars: Mapping[str, str] | None = None,
        warm: int = 0,
        network: str = "none",
    ) -> None:
        """Choose what to run; nothing is started yet.

        Args:
            image: Name or id of an image.
            port: As the attribute.
            run_args: Further options of `docker run`.
            compose_service_socket: As the attribute.
            runtime_config: Asks of every row; a row's own win.
            env_vars: Variables of the container. They never stand on a command line.
            warm: As the attribute.
            network: As the attribute.
        """
        self.image = image
        self.port = port
        self.run_args = tuple(run_args)
        self.compose_service_socket = (
            None if compose_service_socket is None else str(compose_service_socket)
        )
        self.runtime_config = (
            RuntimeConfig.model_validate(runtime_config)
            if isinstance(runtime_config, dict)
            else runtime_config
        )
        self.env_vars = dict(env_vars or {})
        self.network = network
        self._warm = Warm(self._place, warm, key=self._key) if warm else None
        self._scope: Scope | None = None
        self._info: dict[str, Any] = {}
        self._images: Images | None = None
        self._projects: Projects | None = None
        self._opening = asyncio.Lock()
        self._users = 0

    def __repr__(self) -> str:
        return f"DockerRuntime({self.image!r})"

    async def __aenter__(self) -> DockerRuntime:
        self._users += 1
        try:
            async with self._opening:
                if self._scope is None:
                    await self._open()
        except BaseException:
            self._users -= 1
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._users -= 1
        if self._users:
            return
        scope, self._scope = self._scope, None
        try:
            if self._warm is not None:
                await self._warm.aclose()
        finally:
            if scope is not None:
                await scope.close()

    async def check(self) -> None:
        """Ask the engine whether it is there.

        Raises:
            InputError: when this machine has none.
            RuntimeFault: when it does not answer.
        """
        await find_engine().info()

    async def fill(self, task: Task) -> None:
        """Return once the warm containers for such tasks are ready; needs an open scope."""
        if self._warm is not None:
            await self._warm.fill(task)

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        config = self._config(task)
        async with self:
            make = self._place if self._warm is None else self._warm
            async with make(task) as runtime:
                limit = config.limits.run_timeout_s if config.limits else None
                if limit is None:
                    yield runtime
                    return
                place: DockerPlace = runtime.params["place"]
                ending = asyncio.create_task(_end_after(place, limit))
                try:
                    yield runtime
                finally:
                    ending.cancel()
                    await asyncio.gather(ending, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _place(self, task: Task, /) -> AsyncGenerator[Runtime]:
        """Make one container for a task, and remove it in the end."""
        scope = self._scope
        assert scope is not None
        config = self._config(task)
        place = scope.place(await self._ask(config, task))
        try:
            await place.start()
            params = {
                "ready_timeout": _ANSWER_S,
                "exit_reason": ExitReason(place),
                "container": place.name,
                "place": place,
            }
            yield Runtime(place.url, params, config)
        finally:
            await scope.leave(place)

    async def _open(self) -> None:
        engine = find_engine()
        self._info = await engine.info()
        scope = Scope(engine)
        try:
            profile = write_profile(scope.folder / "seccomp.json")
            await scope.open()
        except BaseException:
            await scope.close()
            raise
        self._images = Images(engine)
        self._projects = Projects(
            engine,
            self._images,
            network=self.network,
            engine_socket=self.compose_service_socket,
            every=every_service(profile),
        )
        self._scope = scope

    def _config(self, task: Task) -> RuntimeConfig:
        return (self.runtime_config or RuntimeConfig()).with_overrides(task.runtime_config)

    def _key(self, task: Task) -> str:
        config = self._config(task)
        asked = json.dumps(config.to_row(), sort_keys=True)
        return f"{config.image or self.image or task.env} {asked}"

    async def _ask(self, config: RuntimeConfig, task: Task) -> Ask:
        scope = self._scope
        assert scope is not None
        limits = limit_options(config, self._info)
        startup = config.limits.startup_timeout_s if config.limits else None
        assert self._images is not None and self._projects is not None
        if config.compose is not None:
            if self.run_args:
                raise InputError(
                    "run_args are for single containers, and this row has a Compose project",
                    hint="write what they say into the Compose file",
                )
            return await self._projects.ask(
                config,
                environment=task.env,
                image=self.image,
                variables=self.env_vars,
                startup_s=startup or STARTUP_S,
            )
        image = config.image or self.image or image_name(task.env)
        facts = await self._images.find(image)
        user = user_of(self.run_args, facts.user)
        opened = opening_options(self._info, scope.engine.kind, user=user, run_args=self.run_args)
        options = [
            *("--network", self.network, "--init", "--pids-limit", str(PROCESSES)),
            *("--security-opt", "no-new-privileges"),
            *("--security-opt", f"seccomp={scope.folder / 'seccomp.json'}"),
            *(_LOG if scope.engine.kind == "docker" else ()),
            *limits,
            *opened,
            *self.run_args,
        ]
        return Ask(
            image,
            tuple(options),
            facts.command,
            self.env_vars,
            startup_s=startup or STARTUP_S,
            is_ours=facts.is_ours,
        )


async def _end_after(place: DockerPlace, limit_s: float) -> None:
    await asyncio.sleep(limit_s)
    await place.kill(f"the container was ended after limits.run_timeout_s, {limit_s:g} s")


def named(argument: str | None, source: Path | str | None, env: str | None) -> Provider:
    """Return what `--runtime docker[:IMAGE]` means; a Compose file stands for its project.

    Raises:
        InputError: for a Compose file that is not there.
    """
    if argument and (path := _compose_file(Path(argument))) is not None:
        project = ComposeProject(document=path.absolute())
        return DockerRuntime(runtime_config=RuntimeConfig(compose=project))
    if argument and argument.endswith((".yaml", ".yml")):
        raise InputError(
            f"there is no file {bounded(argument, 300)}",
            hint="--runtime docker:IMAGE or docker:PATH, of a Compose file or its folder",
        )
    return DockerRuntime(argument)


def _compose_file(path: Path) -> Path | None:
    """Return the Compose file that is meant by its path or its folder's; None for an image."""
    if path.is_dir():
        return find_compose_file(path)
    return path if path.is_file() and path.suffix in (".yaml", ".yml", ".json") else None
