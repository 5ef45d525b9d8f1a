"""Each rollout in a sandbox of Modal, made from an image that holds the environment.

Uses Modal's own SDK (extra `modal`) and the account it is set up for (`modal token new`, or
MODAL_TOKEN_ID and MODAL_TOKEN_SECRET). The control port is reached through a command's stdio, for
which Modal asks a token of that sandbox; a tunnel would stand open to whoever finds its address.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hud._core.errors import InputError, RuntimeFault, bounded
from hud.environment.runtime_config import RuntimeConfig
from hud.environment.task import Task
from hud.runtimes.base import Provider, Runtime
from hud.runtimes.cloud.asks import (
    Asks,
    asks_of,
    checked_port,
    checked_variables,
    load_sdk,
    refuse,
)
from hud.runtimes.cloud.owner import MACHINE, PLACE, this_machine
from hud.runtimes.cloud.place import Cloud, placed
from hud.runtimes.cloud.scope import CloudScope
from hud.runtimes.cloud.stdio import joining_command
from hud.runtimes.modal_images import Images, told

if TYPE_CHECKING:
    import modal
    from modal.container_process import ContainerProcess

_LONGEST_LIFE_S = 86_400
_REQUEST_S = 30.0
_HANG_UP_S = 5.0
_PORT_WAIT_S = 600.0
_LOG_S = 2.0
_LOG_CHARS = 16_000
_UNSENT_BYTES = 1 << 20
_AT_ONCE = 16
_LOOK_S = 1.0
# The SDK tries for a minute to connect, so failures further apart are not of one outage.
_OUTAGE_S = 120.0
_DEFAULT_APP = "hud"
# What the environment prints to stderr is read together with the rest.
_SERVE = ("sh", "-c", 'exec "$@" 2>&1', "sh")


class ModalRuntime(CloudScope):
    """Give every rollout a Modal sandbox of its own.

    An image's name is that of an Image published at Modal, or its id (`im-…`); one that begins
    with a registry's host (`docker.io/…`, `ghcr.io/…`) is pulled from there. That holds for a
    row's `image` too. CPU and memory asked for are what the sandbox has, neither less nor more.
    The sandbox ends at Modal with the row's limits, by default after an hour, if nobody ends it
    before.

    Attributes:
        image_name: The image, where neither the row nor `image` names one.
        command: The words of what serves the environment in the sandbox.
        app_name: The app at Modal that the sandboxes belong to; made when it is missing.
    """

    def __init__(
        self,
        image_name: str | None = None,
        *,
        image: modal.Image | None = None,
        command: Sequence[str] | None = None,
        app: modal.App | None = None,
        app_name: str | None = None,
        workdir: str | None = None,
        port: int = 8765,
        runtime_config: RuntimeConfig | dict[str, Any] | None = None,
        env_vars: Mapping[str, str] | None = None,
    ) -> None:
        """Choose what to run; nothing is asked of Modal yet.

        Args:
            image_name: An image in which `hud` and the environment are.
            image: Instead, an image declared with Modal's SDK.
            command: What serves at `port`, one word each; by default `hud serve`.
            app: An app that was looked up or runs, instead of `app_name`.
            app_name: By default `hud`.
            workdir: Where the command runs, as an absolute path; by default the image's.
            port: The control port, on the sandbox's own loopback interface.
            runtime_config: What every row asks that does not ask otherwise.
            env_vars: Variables for the sandbox.

        Raises:
            ValueError: when both of a pair are given, or a path is relative.
            TypeError: when the command is not a sequence of words.
        """
        super().__init__()
        if image_name and image is not None:
            raise ValueError("ModalRuntime: give an image's name or an image, not both")
        if app_name and app is not None:
            raise ValueError("ModalRuntime: give an app's name or an app, not both")
        if workdir is not None and not workdir.startswith("/"):
            raise ValueError(f"ModalRuntime: workdir must be an absolute path, not {workdir!r}")
        if isinstance(command, str):
            raise TypeError(f"ModalRuntime: command must be a list of words, not {command!r}")
        self.image_name = image_name
        self.image = image
        self.app = app
        self.app_name = app_name or _DEFAULT_APP
        self.workdir = workdir
        self.port = checked_port("ModalRuntime", port)
        self.command = tuple(
            command or ("hud", "serve", "--host", "127.0.0.1", "--port", str(port))
        )
        self.runtime_config = (
            None if runtime_config is None else RuntimeConfig.model_validate(runtime_config)
        )
        self.env_vars = checked_variables("ModalRuntime", env_vars)

    def __repr__(self) -> str:
        return f"ModalRuntime({self.image_name!r})"

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        asks = asks_of(task, self.runtime_config, longest_life_s=_LONGEST_LIFE_S)
        why = "its sandboxes have Linux, a disk of one size, and no TPUs"
        refuse("ModalRuntime", task, asks, "storage_mb", "tpu", "os", why=why)
        gpu = asks.resources.gpu
        if gpu is not None and not gpu.acceptable_types:
            refuse("ModalRuntime", task, asks, "gpu", why="Modal has to be told which GPU")
        if not (asks.image or self.image_name or self.image is not None):
            raise InputError(
                "ModalRuntime needs an image", hint="ModalRuntime('name'), or --runtime modal:NAME"
            )
        async with self:
            cloud = await self._cloud()
            assert isinstance(cloud, _Modal)
            await cloud.images.ready(asks)
            async with placed(cloud, asks) as place:
                yield place

    async def _open(self, stack: AsyncExitStack) -> Cloud:
        sdk = load_sdk("modal", runtime="ModalRuntime", extra="modal")
        try:
            await sdk.Client.from_env.aio()
        except sdk.exception.AuthError as error:
            raise InputError(
                "ModalRuntime needs MODAL_TOKEN_ID and MODAL_TOKEN_SECRET",
                hint="`modal token new` makes them and remembers them",
            ) from error
        except sdk.exception.ConnectionError as error:
            raise RuntimeFault("Modal cannot be reached", hint="is there a network?") from error
        cloud = _Modal(self, await self._looked_up())
        stack.push_async_callback(cloud.aclose)
        return cloud

    async def _looked_up(self) -> modal.App:
        import modal

        if self.app is not None:
            if self.app.app_id is None:
                raise InputError(
                    "ModalRuntime: the app does not run and was not looked up",
                    hint="app=modal.App.lookup('name', create_if_missing=True)",
                )
            return self.app
        with told(f"app {self.app_name}"):
            async with asyncio.timeout(_REQUEST_S):
                return await modal.App.lookup.aio(self.app_name, create_if_missing=True)


def named(argument: str | None, source: str | Path | None, env: str | None) -> Provider:
    """Return what `--runtime modal[:image]` means."""
    return ModalRuntime(argument)


class _Modal:
    """The vendor, as `Cloud` asks of it."""

    name = "Modal"

    def __init__(self, runtime: ModalRuntime, app: modal.App) -> None:
        self._runtime = runtime
        self._app = app
        self.images = Images(app, runtime.image_name, runtime.image)
        self._boxes: dict[str, _Box] = {}

    async def aclose(self) -> None:
        """Let go of the connections to sandboxes that could not be removed."""
        for box in self._boxes.values():
            await box.detach()

    async def make(self, asks: Asks) -> _Box:
        import modal

        runtime, resources = self._runtime, asks.resources
        image, what = self.images.of(asks)
        gpu = resources.gpu
        with told(what):
            sandbox: modal.Sandbox = await cast("Any", modal.Sandbox).create.aio(
                *_SERVE,
                *runtime.command,
                app=self._app,
                image=image,
                env=dict(runtime.env_vars),
                tags=dict(asks.labels),
                timeout=asks.life_s,
                workdir=runtime.workdir,
                cpu=None if resources.cpu is None else (resources.cpu, resources.cpu),
                memory=None
                if resources.memory_mb is None
                else (resources.memory_mb, resources.memory_mb),
                gpu=None if gpu is None else f"{gpu.acceptable_types[0]}:{gpu.count}",
            )
        box = _Box(sandbox, runtime.port)
        self._boxes[box.id] = box
        return box

    async def remove(self, sandbox_id: str) -> None:
        import modal

        box = self._boxes.get(sandbox_id)
        with (
            told(f"sandbox {sandbox_id}"),
            contextlib.suppress(modal.exception.NotFoundError),
        ):
            sandbox = box.sandbox if box else await modal.Sandbox.from_id.aio(sandbox_id)
            await sandbox.terminate.aio()
        if box is not None:
            del self._boxes[sandbox_id]
            await box.detach()

    async def find(self, place_id: str | None = None) -> list[tuple[str, dict[str, str]]]:
        import modal

        # Each sandbox's tags are a request of their own, and only this machine's can be judged.
        wanted = {PLACE: place_id} if place_id else {MACHINE: this_machine()}
        turn = asyncio.Semaphore(_AT_ONCE)

        async def tags_of(sandbox: modal.Sandbox) -> dict[str, str]:
            async with turn:
                try:
                    return await sandbox.get_tags.aio()
                except modal.exception.NotFoundError:
                    return {}

        with told("the list of sandboxes"):
            found = [
                sandbox
                async for sandbox in modal.Sandbox.list.aio(app_id=self._app.app_id, tags=wanted)
            ]
            tags = await asyncio.gather(*(tags_of(sandbox) for sandbox in found))
        ids = [sandbox.object_id for sandbox in found]
        return list(zip(ids, tags, strict=True))


class _Box:
    """One sandbox, whose main process serves the environment."""

    def __init__(self, sandbox: modal.Sandbox, port: int) -> None:
        self.sandbox = sandbox
        self.id = sandbox.object_id
        self._port = port

    async def detach(self) -> None:
        with contextlib.suppress(Exception):
            await cast("Any", self.sandbox).detach.aio()

    async def logs(self) -> str:
        printed = ""
        # What still runs may print nothing more, and never end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOG_S):
                async for text in self.sandbox.stdout:
                    printed = (printed + text)[-_LOG_CHARS:]
        return printed

    async def ended(self) -> str:
        """Wait at Modal; what cannot be asked for a while may live, so it is asked again."""
        import modal

        loop = asyncio.get_running_loop()
        began = failed = -_OUTAGE_S
        while True:
            try:
                await cast("Any", self.sandbox).wait.aio()
            except modal.exception.SandboxTimeoutError:
                return "its lifetime at Modal is over"
            except modal.exception.SandboxTerminatedError:
                return "it was terminated at Modal"
            except modal.exception.NotFoundError:
                return "the sandbox is gone"
            except Exception as error:
                now = loop.time()
                began, failed = (began if now - failed < _OUTAGE_S else now), now
                if now - began >= _OUTAGE_S:
                    return f"the sandbox cannot be reached: {bounded(str(error), 300)}"
                await asyncio.sleep(_LOOK_S)
            else:
                return f"its process exited with code {self.sandbox.returncode}"

    async def dial(self) -> _Channel:
        command = joining_command(self._port, _PORT_WAIT_S, plain=True)
        return _Channel(await self.sandbox.exec.aio("sh", "-c", command, text=False))


class _Channel:
    """The stdio of a command that is joined to the control port.

    Each sending is a request that is awaited, so what is written meanwhile goes in the next one.
    """

    def __init__(self, process: ContainerProcess[bytes]) -> None:
        self._process = process
        self._pieces = process.stdout.__aiter__()
        self._read_any = False
        self._unsent = bytearray()
        self._sending: asyncio.Task[None] | None = None

    async def read(self) -> bytes:
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            if not self._read_any:
                raise RuntimeFault(await self._said()) from None
            return b""
        self._read_any = True
        return piece

    async def _said(self) -> str:
        """Say why the command ended before anything came: what it printed to stderr."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_HANG_UP_S):
                async for piece in self._process.stderr:
                    return f"the way to the control port ended: {bounded(piece.decode(), 300)}"
        return "the way to the control port ended"

    async def write(self, data: bytes) -> None:
        self._unsent += data
        sending = self._sending
        if sending is not None and sending.done():
            sending.result()
        if sending is None or sending.done():
            sending = self._sending = asyncio.create_task(self._send())
        if len(self._unsent) > _UNSENT_BYTES:
            await asyncio.wait([sending])
            sending.result()

    async def _send(self) -> None:
        while self._unsent:
            self._process.stdin.write(bytes(self._unsent))
            self._unsent.clear()
            await self._process.stdin.drain.aio()

    async def close(self) -> None:
        # The command ends with its stdin; it may be gone already, or the sandbox with it.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_HANG_UP_S):
                if self._sending is not None:
                    await self._sending
                self._process.stdin.write_eof()
                await self._process.stdin.drain.aio()
        with contextlib.suppress(Exception):
            await self._pieces.aclose()
