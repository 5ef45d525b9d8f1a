"""One container of a rollout: started, waited for, explained when it ends, removed once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hud._core.errors import EnvironmentFault, Fault, RuntimeFault, bounded
from hud._core.ids import new_id
from hud._core.redact import redact
from hud.packaging.docker.engine import Engine
from hud.packaging.docker.values import variable_options

logger = logging.getLogger(__name__)

GUEST_FOLDER = "/run/hud"
CONTROL, READY = "control", "ready"
_LOG_LINES = 40
_LOG_CHARS = 1_500
REMOVE_S = 60.0
START_S = 300.0
# What interpreters, inits and engines say of an image that nobody put hud into.
_WITHOUT_HUD = (
    *("exec hud failed", "No module named hud", "No module named 'hud'"),
    *("hud: not found", "hud: command not found"),
)
_NO_COMMAND = ("executable file not found", "o command specified")
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

    @property
    def what(self) -> str:
        """What it is called in a sentence."""
        return f"image {bounded(self.image)}"


class DockerPlace:
    """A container with its control port on a Unix socket in `folder`.

    `start` once, then `remove`, which may be called at any point and is idempotent.
    """

    def __init__(self, engine: Engine, ask: Ask, folder: Path, labels: dict[str, str]) -> None:
        self.name = f"hud-{new_id()[:20]}"
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.folder = folder / self.name[4:]
        self.engine = engine
        self.ask = ask
        self.labels = labels
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
            async with asyncio.timeout(self.ask.startup_s):
                await asyncio.shield(self._starting)
                await asyncio.wait([waiting, self.gone], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            said = await self.log()
            raise RuntimeFault(
                f"{self.ask.what} did not serve within {self.ask.startup_s:g} s{said}",
                hint="the image has to run `hud serve` of this version, as hud build makes it do",
            ) from None
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        if waiting.done() and not waiting.cancelled() and (error := waiting.exception()):
            raise RuntimeFault(
                f"the control port cannot be made in {bounded(str(self.folder))}: {error}",
                hint="TMPDIR chooses the folder; paths of sockets have at most 107 characters",
            ) from error
        if not self._ready.is_set():
            raise await self._failed()

    async def log(self) -> str:
        """Return the end of what the container printed, as the rest of a sentence; may be empty."""
        try:
            done = await self.engine.run("logs", "--tail", str(_LOG_LINES), self.name)
        except Fault:
            return ""
        text = redact(f"{done.out}\n{done.err}".strip())
        if done.code != 0 or not text:
            return ""
        return f"; it last printed: {text[-_LOG_CHARS:]}"

    @property
    def is_ready(self) -> bool:
        """Whether it has ever served."""
        return self._ready.is_set()

    def heard(self, attributes: Mapping[str, Any], code: str) -> None:
        """Note that a container of this place has ended, told by the engine's event."""
        self.ended(describe_exit(code))

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
            await self.engine.run("kill", self.name)

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
        labels = {**self.labels, "hud.created": str(int(time.time()))}
        words += [f"--label={name}={value}" for name, value in labels.items()]
        words += [f"--volume={self.folder}:{GUEST_FOLDER}"]
        words += [f"--env=HUD_SERVE_SOCKET={GUEST_FOLDER}/{CONTROL}"]
        words += [f"--env=HUD_SERVE_READY={GUEST_FOLDER}/{READY}"]
        lines, given, environment = variable_options(self.ask.variables, self.engine.kind)
        # Not in the folder that the container can write.
        file = self.folder.with_name(f"{self.name}.env")
        if lines:
            file.touch(mode=0o600, exist_ok=False)
            file.write_text(lines, encoding="utf-8")
            words.append(f"--env-file={file}")
        words += [*given, *self.ask.options, self.ask.image, *self.ask.command]
        try:
            done = await self.engine.run(*words, timeout_s=START_S, variables=environment)
        finally:
            if lines:
                file.unlink(missing_ok=True)
        if done.code != 0:
            raise self.unstartable(done.reason)

    def unstartable(self, reason: str, log: str = "") -> RuntimeFault:
        """Return the fault of a start that the engine refused for that reason."""
        why, hint = "", None
        if any(words in reason for words in _NO_COMMAND):
            why = ", for there is no hud in it that it runs"
            hint = "build it with hud build, of a Dockerfile whose CMD is hud serve"
        elif "container-init binary" in reason:
            hint = "Podman needs a first process for containers: apt-get install catatonit"
        return RuntimeFault(f"{self.ask.what} cannot be started{why}: {reason}{log}", hint=hint)

    async def _hear_ready(self) -> None:
        """Wait until somebody in the container connects to the socket for that."""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.setblocking(False)
            listening.bind(str(self.folder / READY))
            (self.folder / READY).chmod(0o666)
            listening.listen(1)
            loop = asyncio.get_running_loop()
            asked = asyncio.Event()
            loop.add_reader(listening, asked.set)
            try:
                await asked.wait()
            finally:
                loop.remove_reader(listening)
            # Awaited, an accepted connection could be lost to a cancel, and would stay open.
            listening.accept()[0].close()
            self._ready.set()

    async def _failed(self) -> Fault:
        reason = self.gone.result()
        said = await self.log()
        if not self.ask.is_ours and any(words in said for words in _WITHOUT_HUD):
            return RuntimeFault(
                f"{self.ask.what} did not serve, for there is no hud in it: {reason}{said}",
                hint="build it with hud build, which puts hud in",
            )
        text = f"{self.ask.what} did not serve: {reason}{said}"
        if self.ask.is_ours and any(reason.endswith(f"status {code}") for code in _OWN_CODES):
            return EnvironmentFault(text)
        return RuntimeFault(
            text, hint="the image has to run `hud serve`, as one made by hud build does"
        )

    async def _look(self) -> None:
        """Ask the engine what has become of it."""
        words = ("inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", self.name)
        try:
            done = await self.engine.run(*words)
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
            self._give_up_starting()
            await asyncio.wait([self._starting])
            if not self._starting.cancelled():
                self._starting.exception()  # told to whoever started it, if anybody still waits
        removed = True
        if self._starting is not None:
            try:
                left = await self._erase()
            except Fault as fault:
                left = fault.message
            if left is not None:
                removed = False
                logger.warning("container %s is not removed yet: %s", self.name, left)
        if removed:
            shutil.rmtree(self.folder, ignore_errors=True)
        return removed

    def _give_up_starting(self) -> None:
        """End what only waits in a start; what asks the engine for something goes on."""

    async def _erase(self) -> str | None:
        """Have the engine remove it; return what it says when it cannot."""
        words = ("rm", "--force", "--volumes", self.name)
        done = await self.engine.run(*words, timeout_s=REMOVE_S)
        if done.code == 0 or "no such container" in done.err.lower():
            return None
        return done.reason


def describe_exit(code: str) -> str:
    """Say in words how a container ended."""
    if code == "137":
        return "the container was killed (status 137), as it is when its memory is used up"
    return f"the container exited with status {code}"
