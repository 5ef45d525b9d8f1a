"""The Compose project of a rollout: started as one, explained by what all its services printed.

What it may hold is decided in `compose`; this is how one lives. It counts as ended when its main
service ends, and while it starts when any other fails: what the agent does to a sidecar afterwards
is the environment's to judge.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hud._core.errors import Fault, RuntimeFault, bounded
from hud._core.redact import redact
from hud.environment.compose import MAIN
from hud.environment.runtime_config import RuntimeResources
from hud.packaging.docker.engine import Done, Engine
from hud.runtimes.docker.compose import Project, launched
from hud.runtimes.docker.compose_command import ComposeCommand
from hud.runtimes.docker.place import (
    CONTROL,
    GUEST_FOLDER,
    READY,
    START_S,
    Ask,
    DockerPlace,
    describe_exit,
)
from hud.runtimes.docker.removal import remove_labelled

PROJECT_LABEL = "hud.project"
_SERVICE_LABEL = "com.docker.compose.service"
_LOG_LINES = 20
_LOG_CHARS = 1_400
_NO_ADDRESSES = "address pool"
_EMPTY_TALK = ("Encountered errors while bringing up the project.",)


@dataclass(frozen=True, slots=True)
class ProjectAsk(Ask):
    """What to run: a project with the images of its services.

    Attributes:
        every: What every service has besides.
        resources: What no service may use more of.
    """

    project: Project = field(kw_only=True)
    compose: ComposeCommand = field(kw_only=True)
    images: Mapping[str, str] = field(kw_only=True)
    every: Mapping[str, Any] = field(kw_only=True)
    resources: RuntimeResources | None = field(default=None, kw_only=True)

    @property
    def what(self) -> str:
        return f"the Compose project of {bounded(self.image)}"


class ProjectPlace(DockerPlace):
    """A project whose main service has its control port on a Unix socket in `folder`."""

    def __init__(
        self, engine: Engine, ask: ProjectAsk, folder: Path, labels: dict[str, str]
    ) -> None:
        super().__init__(engine, ask, folder, labels)
        self._wanted = ask
        # Not in the folder that the main service can write.
        self._file = folder / f"{self.name}.json"
        self._waiting: asyncio.Task[Done] | None = None
        self._giving_up = False

    def heard(self, attributes: Mapping[str, Any], code: str) -> None:
        service = str(attributes.get(_SERVICE_LABEL) or MAIN)
        if service == MAIN:
            self.ended(describe_exit(code))
        elif not self.is_ready and code != "0" and not self._is_restarted(service):
            self.ended(f"service {service}: {describe_exit(code)}")

    async def log(self) -> str:
        """Return the end of what every service printed, as the rest of a sentence."""
        form = f'{{{{.ID}}}} {{{{.Label "{_SERVICE_LABEL}"}}}}'
        words = ("ps", "--all", "--filter", f"label={PROJECT_LABEL}={self.name}", "--format", form)
        try:
            rows = [line.split(" ", 1) for line in (await self.engine.check(*words)).splitlines()]
            said: list[str] = []
            for identity, service in sorted(rows, key=lambda row: row[-1]):
                done = await self.engine.run("logs", "--tail", str(_LOG_LINES), identity)
                text = redact(f"{done.out}\n{done.err}".strip())
                if done.code == 0 and text:
                    said.append(f"; {service} last printed: {text[-_LOG_CHARS // len(rows) :]}")
        except Fault:
            return ""
        return "".join(said)

    async def _run(self) -> None:
        self._file.touch(mode=0o600, exist_ok=False)
        self._file.write_text(json.dumps(self._document()), encoding="utf-8")
        up = ("up", "--detach", "--no-build")
        if self._wanted.project.waits:
            # All there is to remove is made before the wait, which can then be given up.
            await self._compose("up", "--no-start", "--no-build")
            up = (*up, "--no-recreate")
        await self._compose(*up, may_wait=self._wanted.project.waits)

    async def _compose(self, *words: str, may_wait: bool = False) -> None:
        running = asyncio.create_task(
            self._wanted.compose.run(self.name, self._file, *words, timeout_s=START_S)
        )
        if may_wait:
            self._waiting = running
            if self._giving_up:
                running.cancel()
        done = await running
        if done.code != 0:
            said = _complaint(done)
            if _NO_ADDRESSES in said:
                raise RuntimeFault(
                    f"{self.ask.what} cannot be started: the engine has no addresses for one more "
                    f"network: {said}",
                    hint="fewer at once (--max-concurrent), or more default-address-pools in the "
                    "engine's daemon.json",
                )
            raise self.unstartable(said, await self.log())

    def _give_up_starting(self) -> None:
        self._giving_up = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def _erase(self) -> str | None:
        left = await remove_labelled(self.engine, f"{PROJECT_LABEL}={self.name}")
        if left is None:
            self._file.unlink(missing_ok=True)
        return left

    def _document(self) -> dict[str, Any]:
        labels = {
            **self.labels,
            "hud.created": str(int(time.time())),
            PROJECT_LABEL: self.name,
        }
        variables = {
            "HUD_SERVE_SOCKET": f"{GUEST_FOLDER}/{CONTROL}",
            "HUD_SERVE_READY": f"{GUEST_FOLDER}/{READY}",
            # In a file of this user's, not in the command's environment: some are settings of it.
            **self.ask.variables,
        }
        main: dict[str, Any] = {
            "container_name": self.name,
            "environment": variables,
            "volumes": [{"type": "bind", "source": str(self.folder), "target": GUEST_FOLDER}],
            "init": True,
        }
        service = self._wanted.project.services[MAIN]
        if self.ask.command and not service.get("command") and not service.get("entrypoint"):
            main["command"] = list(self.ask.command)
        return launched(
            self._wanted.project,
            images=self._wanted.images,
            labels=labels,
            main=main,
            every=self._wanted.every,
            resources=self._wanted.resources,
        )

    def _is_restarted(self, service: str) -> bool:
        found = self._wanted.project.services.get(service, {})
        return found.get("restart") not in (None, "no")


def _complaint(done: Done) -> str:
    """Return the line that says what is wrong, which Compose does not end with."""
    lines = [line.strip() for line in done.err.strip().splitlines() if line.strip()]
    lines = [line for line in lines if line not in _EMPTY_TALK]
    told = [line for line in lines if "error" in line.lower() or "unhealthy" in line.lower()]
    return bounded(redact((told or lines or [done.reason])[-1]), 400)
