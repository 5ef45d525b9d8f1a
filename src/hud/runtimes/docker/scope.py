"""What all containers of one runtime share: news of their ends, and a guard that outlives us."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from hud._core.errors import Fault
from hud._core.ids import new_id
from hud._core.owner import OWNER_LABEL, own_label
from hud.packaging.docker.engine import Engine
from hud.runtimes.docker.guard import Guard
from hud.runtimes.docker.place import Ask, DockerPlace
from hud.runtimes.docker.project import PROJECT_LABEL, ProjectAsk, ProjectPlace
from hud.runtimes.docker.removal import reap, sweep_folders

logger = logging.getLogger(__name__)

SCOPE_LABEL = "hud.scope"
_LINE_BYTES = 1 << 16
_AGAIN_S = 1.0


class Scope:
    """Open it, make places in it, close it. Whatever is left is removed at the end."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.folder = Path(tempfile.mkdtemp(prefix="hud-docker-"))
        self._labels = {OWNER_LABEL: own_label(), SCOPE_LABEL: new_id()}
        self._places: dict[str, DockerPlace] = {}
        self._left = False
        self._guard: Guard | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start the guard and listen to the engine.

        Raises:
            RuntimeFault: when the guard cannot be started.
        """
        label = f"{SCOPE_LABEL}={self._labels[SCOPE_LABEL]}"
        self._guard = Guard(self.engine.program, label, self.folder)
        since = str(int(time.time()) - 1)
        self._tasks = [
            asyncio.create_task(self._listen(label, since)),
            asyncio.create_task(_reap(self.engine)),
        ]

    def place(self, ask: Ask) -> DockerPlace:
        """Return a new place, not started yet; hand it to `leave` in the end."""
        if isinstance(ask, ProjectAsk):
            place = ProjectPlace(self.engine, ask, self.folder, self._labels)
        else:
            place = DockerPlace(self.engine, ask, self.folder, self._labels)
        self._places[place.name] = place
        return place

    async def leave(self, place: DockerPlace) -> None:
        """Remove a place."""
        try:
            if not await place.remove():
                self._left = True
        finally:
            self._places.pop(place.name, None)

    async def close(self) -> None:
        """Remove what is left and stop listening; what cannot be removed is the guard's."""
        await asyncio.gather(*(self.leave(place) for place in list(self._places.values())))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        guard, self._guard = self._guard, None
        if guard is not None and self._left:
            guard.hand_over()
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        if guard is not None:
            await guard.dismiss()

    async def _listen(self, label: str, since: str) -> None:
        form = "json" if self.engine.kind == "podman" else "{{json .}}"
        died = "died" if self.engine.kind == "podman" else "die"
        while True:
            with contextlib.suppress(Fault):
                await self.engine.follow(
                    *("events", "--since", since, "--filter", "type=container"),
                    *("--filter", f"event={died}", "--filter", f"label={label}", "--format", form),
                    on_line=self._hear,
                )
            since = str(int(time.time()) - 1)
            await asyncio.sleep(_AGAIN_S)  # the engine is gone: it may come back

    def _hear(self, line: str) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        told = cast("dict[str, Any]", event)
        actor = cast("dict[str, Any]", told.get("Actor") or {})
        attributes = cast("dict[str, Any]", actor.get("Attributes") or {})
        name = attributes.get("name") or told.get("Name")
        code = attributes.get("exitCode") or told.get("ContainerExitCode")
        place = self._places.get(str(attributes.get(PROJECT_LABEL) or name))
        if place is not None:
            place.heard(attributes, str(code))


async def _reap(engine: Engine) -> None:
    await reap(engine)
    await asyncio.to_thread(sweep_folders)
