"""The images that rollouts run: looked for once, pulled where missing, built for services."""

from __future__ import annotations

import asyncio
import hashlib

from hud._core.errors import EnvironmentFault, InputError, bounded
from hud.packaging.docker.build import builder_variables, has_buildkit
from hud.packaging.docker.engine import Engine
from hud.packaging.docker.values import argument_options
from hud.runtimes.docker.compose import Building
from hud.runtimes.docker.facts import ImageFacts, read_facts

SERVICE_LABEL = "hud.service"
_PULL_S = 1_800.0
_TAIL = 30


class Images:
    """What is known of the images of one engine, for as long as a scope is open."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._found: dict[str, ImageFacts] = {}
        self._built: dict[str, str] = {}
        self._building = asyncio.Lock()

    async def find(self, image: str, *, hint: str = "build it with: hud build .") -> ImageFacts:
        """Make sure that an image is here, and return what its configuration says.

        Raises:
            InputError: when it is nowhere.
        """
        if image in self._found:
            return self._found[image]
        if image.startswith("-"):
            raise InputError(f"{bounded(image)!r} is no name of an image")
        words = ("image", "inspect", "--format", "{{json .Config}}", image)
        done = await self._engine.run(*words)
        if done.code != 0:
            pulled = await self._engine.run("pull", "--quiet", image, timeout_s=_PULL_S)
            if pulled.code != 0:
                raise InputError(
                    f"there is no image {bounded(image)!r}: {pulled.reason}", hint=hint
                )
            done = await self._engine.run(*words)
        self._found[image] = read_facts(done.out)
        return self._found[image]

    async def built(self, service: str, building: Building) -> str:
        """Build the image of a service, once, and return its name.

        Raises:
            EnvironmentFault: when it cannot be built.
        """
        key = hashlib.sha256(f"{service}\n{building}".encode()).hexdigest()[:16]
        async with self._building:
            if key not in self._built:
                await self._build(service, building, f"hud-service-{key}")
                self._built[key] = f"hud-service-{key}"
        return self._built[key]

    async def _build(self, service: str, building: Building, tag: str) -> None:
        buildkit = await has_buildkit(self._engine)
        words = ["build", "--tag", tag, "--label", f"{SERVICE_LABEL}={service}"]
        if not buildkit:
            words.append("--force-rm")
        if building.dockerfile is not None:
            words += ["--file", str(building.folder / building.dockerfile)]
        if building.target is not None:
            words += ["--target", building.target]
        arguments, variables = argument_options(building.arguments)
        words += arguments
        said: list[str] = []

        def hear(line: str) -> None:
            if line.strip():
                said.append(line.strip())
                del said[:-_TAIL]

        code = await self._engine.follow(
            *words,
            str(building.folder),
            on_line=hear,
            variables={**variables, **builder_variables(buildkit)},
            timeout_s=_PULL_S,
        )
        if code != 0:
            told = bounded("; ".join(said[-4:]), 800)
            raise EnvironmentFault(
                f"service {service} of the Compose project cannot be built: {told}"
            )
