"""One container of a rollout: started, waited for, explained when it ends, removed once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from hud._core.errors import EnvironmentFault, Fault, RuntimeFault, bounded
from hud._core.ids import new_id
from hud._core.redact import redact
from hud.packaging.docker.engine import Engine

logger = logging.getLogger(__name__)

GUEST_FOLDER = "/run/hud"
CONTROL, READY = "control", "ready"
_LOG_LINES = 40
_LOG_CHARS = 1_500
_REMOVE_S = 60.0
_START_S = 300.0
_OWN_CODES = (1, 2)  # what `hud serve` exits with when the environment's own code is at fault


@dataclass(frozen=True, slots=True)
class Ask:
    """What to run: an image, options of `docker run`, maybe a command, and how long it may take."""

    image: str
    options: tuple[str, ...]
    command: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    startup_s: float = 120.0
    run_s: float | None = None
    is_ours: bool = False


class DockerPlace:
    """A container with its control port on a Unix socket in `folder`.

    `start` once, then `remove`, which may be called at any point and is idempotent.
    """

    def __init__(self, engine: Engine, ask: Ask, folder: Path, labels: dict[str, str]) -> None:
        self.name = f"hud-{new_id()[:20]}"
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.folder = folder / self.name[4:]
        self._engine = engine
        self._ask = ask
        self._labels = labels
        self._starting: asyncio.Task[None] | None = None
        self._removing: asyncio.Task[bool] | None = None
        self._ready = asyncio.Event()

    @property
    def url(self) -> str:
        return f"unix://{self.folder / CONTROL}"

    async def start(self) -> None:
        """Start it and return once it serves.

        Raises:
            RuntimeFault: when it does not, with the end of its log.
            EnvironmentFault: when the environment's own code is what failed.
        """
        self.folder.mkdir(mode=0o700)
        # A container that runs as another user than root has to be able to listen in it, and an
        # agent that is yet another must not put a socket of its own in place of that.
        self.folder.chmod(0o1777)
        waiting = asyncio.create_task(self._hear_ready())
        try:
            # Tasks begin in the order they are made: the socket is there before the container.
            self._starting = asyncio.create_task(self._run())
            async with asyncio.timeout(self._ask.startup_s):
                await asyncio.shield(self._starting)
                await asyncio.wait([waiting, self.gone], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            said = await self.log()
            raise RuntimeFault(
                f"image {bounded(self._ask.image)} did not serve within "
                f"{self._ask.startup_s:g} s{said}",
                hint="the image has to run `hud serve` of this version, as hud build makes it do",
            ) from None
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        if not self._ready.is_set():
            raise await self._failed()

    async def log(self) -> str:
        """Return the end of what the container printed, as the rest of a sentence; may be empty."""
        try:
            done = await self._engine.run("logs", "--tail", str(_LOG_LINES), self.name)
        except Fault:
            return ""
        text = redact(f"{done.out}\n{done.err}".strip())
        if done.code != 0 or not text:
            return ""
        return f"; it last printed: {text[-_LOG_CHARS:]}"

    def ended(self, reason: str) -> None:
        """Note that the container has ended by itself."""
        if not self.gone.done():
            self.gone.set_result(reason)

    async def exit_reason(self, timeout_s: float) -> str | None:
        """Return why it ended, waiting a moment for the news; None while it lives."""
        if not self.gone.done():
            await asyncio.wait([self.gone], timeout=timeout_s)
        if not self.gone.done():
            await self._look()
        if not self.gone.done():
            return None
        return f"{self.gone.result()}{await self.log()}"

    async def kill(self, reason: str) -> None:
        """End it for that reason."""
        self.ended(reason)
        with contextlib.suppress(Fault):
            await self._engine.run("kill", self.name)

    async def remove(self) -> bool:
        """Remove it and its folder, whatever cancels meanwhile; tell whether it is gone."""
        if self._removing is None:
            self._removing = asyncio.create_task(self._remove())
        while not self._removing.done():
            try:
                await asyncio.shield(self._removing)
            except asyncio.CancelledError:
                await asyncio.wait([self._removing])
                raise
        return self._removing.result()

    async def _run(self) -> None:
        words = ["run", "--detach", "--name", self.name]
        labels = {**self._labels, "hud.created": str(int(time.time()))}
        words += [f"--label={name}={value}" for name, value in labels.items()]
        words += [f"--volume={self.folder}:{GUEST_FOLDER}"]
        words += [f"--env=HUD_SERVE_SOCKET={GUEST_FOLDER}/{CONTROL}"]
        words += [f"--env=HUD_SERVE_READY={GUEST_FOLDER}/{READY}"]
        words += [f"--env={name}" for name in self._ask.variables]
        words += [*self._ask.options, self._ask.image, *self._ask.command]
        done = await self._engine.run(*words, timeout_s=_START_S, variables=self._ask.variables)
        if done.code != 0:
            hint = None
            if "executable file not found" in done.err:
                hint = "the image has no hud in it: build it with hud build"
            elif "container-init binary" in done.err:
                hint = "Podman needs a first process for containers: apt-get install catatonit"
            raise RuntimeFault(
                f"image {bounded(self._ask.image)} cannot be started: {done.reason}", hint=hint
            )

    async def _hear_ready(self) -> None:
        """Wait until somebody in the container connects to the socket for that."""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.setblocking(False)
            listening.bind(str(self.folder / READY))
            (self.folder / READY).chmod(0o666)
            listening.listen(1)
            connection, _ = await asyncio.get_running_loop().sock_accept(listening)
            connection.close()
            self._ready.set()

    async def _failed(self) -> Fault:
        reason = self.gone.result()
        text = f"image {bounded(self._ask.image)} did not serve: {reason}{await self.log()}"
        if self._ask.is_ours and any(reason.endswith(f"status {code}") for code in _OWN_CODES):
            return EnvironmentFault(text)
        return RuntimeFault(
            text, hint="the image has to run `hud serve`, as one made by hud build does"
        )

    async def _look(self) -> None:
        """Ask the engine what has become of it."""
        words = ("inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", self.name)
        try:
            done = await self._engine.run(*words)
        except Fault as fault:
            self.ended(f"the container engine does not answer ({fault.message})")
            return
        running, _, code = done.out.strip().partition(" ")
        if done.code != 0:
            self.ended(f"the container cannot be found any more: {done.reason}")
        elif running != "true":
            self.ended(describe_exit(code))

    async def _remove(self) -> bool:
        if self._starting is not None:
            # What the engine was asked to start can be removed once it has answered.
            await asyncio.wait([self._starting])
            if not self._starting.cancelled():
                self._starting.exception()  # told to whoever started it, if anybody still waits
        removed = True
        if self._starting is not None:
            removed = False
            try:
                words = ("rm", "--force", "--volumes", self.name)
                done = await self._engine.run(*words, timeout_s=_REMOVE_S)
                removed = done.code == 0 or "no such container" in done.err.lower()
                if not removed:
                    logger.warning("container %s is not removed yet: %s", self.name, done.reason)
            except Fault as fault:
                logger.warning("container %s is not removed yet: %s", self.name, fault.message)
        if removed:
            shutil.rmtree(self.folder, ignore_errors=True)
        return removed


def describe_exit(code: str) -> str:
    """Say in words how a container ended."""
    if code == "137":
        return "the container was killed (status 137), as it is when its memory is used up"
    return f"the container exited with status {code}"
