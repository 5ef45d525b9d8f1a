"""Makes ready what a row's Compose project needs before a rollout of it: checks, images, limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hud._core.errors import InputError, bounded
from hud.environment.compose import MAIN
from hud.environment.runtime_config import RuntimeConfig
from hud.packaging.docker.engine import Engine
from hud.packaging.docker.names import image_name
from hud.runtimes.docker.compose import Project, read_project
from hud.runtimes.docker.compose_command import ComposeCommand, find_compose
from hud.runtimes.docker.images import Images
from hud.runtimes.docker.project import ProjectAsk

_NETWORKS = ("none", "bridge")


class Projects:
    """Knows how Compose is called, for as long as a scope is open.

    Args:
        network: `none` for projects whose networks lead nowhere else, `bridge` for others.
        engine_socket: What a project that asks for `service_access` is given; None refuses it.
        every: What every service has besides what its project says.
    """

    def __init__(
        self,
        engine: Engine,
        images: Images,
        *,
        network: str,
        engine_socket: str | None,
        every: Mapping[str, Any],
    ) -> None:
        self._engine = engine
        self._images = images
        self._network = network
        self._engine_socket = engine_socket
        self._every = every
        self._command: ComposeCommand | None = None

    async def ask(
        self,
        config: RuntimeConfig,
        *,
        environment: str,
        image: str | None,
        variables: dict[str, str],
        startup_s: float,
    ) -> ProjectAsk:
        """Return what to start for a row with a Compose project.

        Args:
            environment: The row's; its image is the main service's that names none.
            image: The main service's, if it names none.

        Raises:
            InputError: for what the project may not ask, and for images that are nowhere.
            EnvironmentFault: when a service cannot be built.
        """
        if self._network not in _NETWORKS:
            raise InputError(
                f"network {bounded(self._network)!r} is not for Compose projects",
                hint="none keeps them to themselves, bridge lets them out",
            )
        resources = config.resources
        if resources is not None and resources.gpu is not None:
            raise InputError("resources.gpu cannot be had for a Compose project")
        assert config.compose is not None
        project = read_project(
            config.compose, closed=self._network == "none", engine_socket=self._engine_socket
        )
        if self._command is None:
            self._command = await find_compose(self._engine)
        images = {
            name: await self._image(name, project, image or image_name(environment))
            for name in project.services
        }
        facts = await self._images.find(images[MAIN])
        return ProjectAsk(
            images[MAIN],
            (),
            facts.command,
            variables,
            startup_s=startup_s,
            is_ours=facts.is_ours,
            project=project,
            compose=self._command,
            images=images,
            every=self._every,
            resources=resources,
        )

    async def _image(self, service: str, project: Project, otherwise: str) -> str:
        if service in project.builds:
            return await self._images.built(service, project.builds[service])
        image = str(project.services[service].get("image") or otherwise)
        hint = "name an image that is here or can be pulled"
        if service == MAIN:
            hint = f"build it with: hud build {project.main_folder} --tag {image}"
        await self._images.find(image, hint=hint)
        return image


def every_service(profile: Path) -> dict[str, Any]:
    """Return what all services of all projects have besides."""
    return {"security_opt": ["no-new-privileges", f"seccomp={profile}"]}
