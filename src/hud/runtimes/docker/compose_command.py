"""The Compose command of this machine: Docker's plugin where there is one, else docker-compose."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hud._core.errors import InputError
from hud.packaging.docker.engine import Done, Engine

# docker-compose is a Python program with an interpreter of its own, which ours must not reach.
_OWN_PYTHON = {"PYTHONPATH": "", "PYTHONHOME": "", "PYTHONWARNINGS": ""}
_OWN_CHOICE = {"COMPOSE_PROFILES": "", "COMPOSE_FILE": ""}


@dataclass(frozen=True, slots=True)
class ComposeCommand:
    """How Compose is called: a program, and its words before the options."""

    engine: Engine
    words: tuple[str, ...] = ()

    async def run(
        self,
        project: str,
        file: Path,
        *words: str,
        timeout_s: float,
    ) -> Done:
        """Run a command on a project, whose document is in `file`.

        Raises:
            RuntimeFault: when it does not end in time, or cannot be run.
        """
        options = ("--project-name", project, "--file", str(file))
        options += ("--project-directory", str(file.parent))
        return await self.engine.run(
            *self.words,
            *options,
            *words,
            timeout_s=timeout_s,
            variables={**_OWN_PYTHON, **_OWN_CHOICE},
        )


async def find_compose(engine: Engine) -> ComposeCommand:
    """Return the Compose command for an engine.

    Raises:
        InputError: when there is none.
    """
    if engine.kind == "podman":
        raise InputError(
            "Compose projects are run with Docker, and here podman was found",
            hint="install Docker with Compose, and name it with HUD_ENGINE=docker",
        )
    if (await engine.run("compose", "version")).code == 0:
        return ComposeCommand(engine, ("compose",))
    program = shutil.which("docker-compose")
    if program is None:
        raise InputError(
            "there is neither docker compose nor docker-compose on this machine",
            hint="install one: apt-get install docker-compose-plugin, or docker-compose",
        )
    return ComposeCommand(Engine(program, "docker"))
