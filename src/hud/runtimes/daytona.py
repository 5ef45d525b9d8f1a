"""Each rollout in a sandbox of Daytona, made from a snapshot or an image.

Uses Daytona's own SDK (extra `daytona`) and the variables it reads (DAYTONA_API_KEY,
DAYTONA_API_URL, DAYTONA_TARGET). The control port is reached through Daytona's SSH gateway, with
a token made for that sandbox alone: previews carry only HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import shlex
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hud._core.errors import HudError, InputError, NotFound, RuntimeFault, bounded
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
    require_variables,
)
from hud.runtimes.cloud.owner import OWNER, PLACE
from hud.runtimes.cloud.place import Cloud, placed
from hud.runtimes.cloud.scope import CloudScope
from hud.runtimes.stream import PIECE_BYTES

if TYPE_CHECKING:
    import asyncssh
    from daytona import AsyncDaytona, AsyncSandbox, Image

_LONGEST_LIFE_S = 7 * 86_400
_REQUEST_S = 30.0
_SSH_S = 30.0
_LOOK_S = 1.0
_MB_PER_GB = 1_024
_SESSION = "hud"


class DaytonaRuntime(CloudScope):
    """Give every rollout a Daytona sandbox of its own.

    Made from an image, it gets the resources a row asks for; a snapshot has its own, so asking is
    refused there. A row's `image` is an image. The sandbox ends at Daytona with the row's limits,
    by default after an hour, if nobody ends it before.

    Attributes:
        snapshot_name: The snapshot, where neither the row nor the runtime names an image.
        command: What serves the environment in the sandbox, told the port by `--port`.
        ssh_host: Daytona's SSH gateway, as `host` or `host:port`.
    """

    def __init__(
        self,
        snapshot_name: str | None = None,
        *,
        image: str | Image | None = None,
        command: str | None = None,
        workdir: str | None = "/app",
        port: int = 8765,
        ssh_host: str = "ssh.app.daytona.io",
        ssh_expires_minutes: int = 1_440,
        runtime_config: RuntimeConfig | dict[str, Any] | None = None,
        env_vars: Mapping[str, str] | None = None,
    ) -> None:
        """Choose what to run; nothing is asked of Daytona yet.

        Args:
            snapshot_name: A snapshot in which `hud` and the environment are.
            image: Instead, an image of a registry or one declared with Daytona's SDK.
            command: A shell command that serves at `port`; by default `hud serve`.
            workdir: Where it runs; None is the sandbox's own.
            port: The control port, on the sandbox's own loopback interface.
            ssh_host: The SSH gateway.
            ssh_expires_minutes: How long a token for it is good.
            runtime_config: What every row asks that does not ask otherwise.
            env_vars: Variables for the sandbox.

        Raises:
            ValueError: when both a snapshot and an image are given.
        """
        super().__init__()
        if snapshot_name and image is not None:
            raise ValueError("DaytonaRuntime: give a snapshot or an image, not both")
        if ssh_expires_minutes < 1:
            raise ValueError(
                f"DaytonaRuntime: ssh_expires_minutes must be at least 1, not {ssh_expires_minutes}"
            )
        self.snapshot_name = snapshot_name
        self.image = image
        self.workdir = workdir
        self.port = checked_port("DaytonaRuntime", port)
        self.command = command or f"hud serve --host 127.0.0.1 --port {port}"
        self.ssh_host = ssh_host
        self.ssh_expires_minutes = ssh_expires_minutes
        self.runtime_config = (
            None if runtime_config is None else RuntimeConfig.model_validate(runtime_config)
        )
        self.env_vars = checked_variables("DaytonaRuntime", env_vars)

    def __repr__(self) -> str:
        return f"DaytonaRuntime({self.snapshot_name!r})"

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        asks = asks_of(task, self.runtime_config, longest_life_s=_LONGEST_LIFE_S)
        refuse("DaytonaRuntime", task, asks, "tpu", "os", why="Daytona has Linux without TPUs")
        if asks.image is None and self.image is None:
            why = "a snapshot has resources of its own; name an image instead"
            refuse("DaytonaRuntime", task, asks, "cpu", "memory_mb", "storage_mb", "gpu", why=why)
        cpu = asks.resources.cpu
        if cpu is not None and cpu != int(cpu):
            refuse("DaytonaRuntime", task, asks, "cpu", why="Daytona gives whole CPUs")
        async with self, placed(await self._cloud(), asks) as place:
            yield place

    async def _open(self, stack: AsyncExitStack) -> Cloud:
        sdk = load_sdk("daytona", runtime="DaytonaRuntime", extra="daytona")
        require_variables(
            "DaytonaRuntime",
            ("DAYTONA_API_KEY",),
            ("DAYTONA_JWT_TOKEN", "DAYTONA_ORGANIZATION_ID"),
            hint="a key is made at the vendor's dashboard",
        )
        return _Daytona(self, await stack.enter_async_context(sdk.AsyncDaytona()))


def named(argument: str | None, source: str | Path | None, env: str | None) -> Provider:
    """Return what `--runtime daytona[:snapshot]` means."""
    return DaytonaRuntime(argument)


class _Daytona:
    """The vendor, as `Cloud` asks of it."""

    name = "Daytona"

    def __init__(self, runtime: DaytonaRuntime, client: AsyncDaytona) -> None:
        self._runtime = runtime
        self._client = client

    async def make(self, asks: Asks) -> _Box:
        runtime = self._runtime
        image = asks.image or runtime.image
        what = f"image {asks.image or runtime.image}" if image else "snapshot"
        if not image and runtime.snapshot_name:
            what = f"snapshot {runtime.snapshot_name}"
        with _told(what):
            sandbox = await self._client.create(self._params(asks, image), timeout=asks.startup_s)
            box = _Box(sandbox, runtime)
            await box.serve()
        return box

    def _params(self, asks: Asks, image: str | Image | None) -> Any:
        import daytona

        runtime, resources = self._runtime, asks.resources
        rest: dict[str, Any] = {
            "labels": dict(asks.labels),
            "env_vars": dict(runtime.env_vars),
            "auto_stop_interval": 0,
            "auto_delete_interval": 0,
            "ttl_minutes": math.ceil(asks.life_s / 60),
            "public": False,
        }
        if image is None:
            return daytona.CreateSandboxFromSnapshotParams(snapshot=runtime.snapshot_name, **rest)
        gpu = resources.gpu
        asked = daytona.Resources(
            cpu=None if resources.cpu is None else int(resources.cpu),
            memory=_gigabytes(resources.memory_mb),
            disk=_gigabytes(resources.storage_mb),
            gpu=None if gpu is None else gpu.count,
            gpu_type=[daytona.GpuType(kind) for kind in gpu.acceptable_types] or None
            if gpu is not None
            else None,
        )
        return daytona.CreateSandboxFromImageParams(image=image, resources=asked, **rest)

    async def remove(self, sandbox_id: str) -> None:
        import daytona

        with _told(f"sandbox {sandbox_id}"), contextlib.suppress(daytona.DaytonaNotFoundError):
            sandbox = await self._client.get(sandbox_id, request_timeout=_REQUEST_S)
            await sandbox.delete(timeout=_REQUEST_S)

    async def find(self, place_id: str | None = None) -> list[tuple[str, dict[str, str]]]:
        import daytona

        query = daytona.ListSandboxesQuery(labels={PLACE: place_id}) if place_id else None
        with _told("the list of sandboxes"):
            return [
                (sandbox.id, dict(sandbox.labels))
                async for sandbox in self._client.list(query, request_timeout=_REQUEST_S)
                if OWNER in sandbox.labels
            ]


class _Box:
    """One sandbox."""

    def __init__(self, sandbox: AsyncSandbox, runtime: DaytonaRuntime) -> None:
        self._sandbox = sandbox
        self._runtime = runtime
        self._command_id = ""
        self._token: str | None = None
        self.id = sandbox.id

    async def serve(self) -> None:
        from daytona import SessionExecuteRequest

        runtime, process = self._runtime, self._sandbox.process
        await process.create_session(_SESSION, request_timeout=_REQUEST_S)
        command = runtime.command
        if runtime.workdir is not None:
            command = f"cd {shlex.quote(runtime.workdir)} && {command}"
        reply = await process.execute_session_command(
            _SESSION, SessionExecuteRequest(command=command, run_async=True)
        )
        self._command_id = reply.cmd_id
        access = await self._sandbox.create_ssh_access(
            runtime.ssh_expires_minutes, request_timeout=_REQUEST_S
        )
        self._token = access.token

    async def logs(self) -> str:
        logs = await self._sandbox.process.get_session_command_logs(_SESSION, self._command_id)
        return f"{logs.stdout or ''}{logs.stderr or ''}"

    async def ended(self) -> str:
        """Look from time to time: the SDK offers nothing that waits for a command."""
        while True:
            try:
                command = await self._sandbox.process.get_session_command(
                    _SESSION, self._command_id, request_timeout=_REQUEST_S
                )
            except Exception as error:
                return f"the sandbox is gone or cannot be reached: {bounded(str(error), 300)}"
            if command.exit_code is not None:
                return f"its process exited with code {int(command.exit_code)}"
            await asyncio.sleep(_LOOK_S)

    async def dial(self) -> _Channel:
        import asyncssh

        host, _, port = self._runtime.ssh_host.partition(":")
        assert self._token is not None
        # The gateway's host key is not published; what it guards is the token of this sandbox.
        connection = await asyncssh.connect(
            host,
            int(port or 22),
            username=self._token,
            known_hosts=None,
            client_keys=None,
            agent_path=None,
            config=[],
            connect_timeout=_SSH_S,
            login_timeout=_SSH_S,
            keepalive_interval=30,
        )
        try:
            opened: Any = await cast("Any", connection).open_connection(
                "127.0.0.1", self._runtime.port, encoding=None
            )
        except BaseException:
            connection.abort()
            await connection.wait_closed()
            raise
        return _Channel(connection, *opened)


class _Channel:
    """A stream through the SSH gateway."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        reader: asyncssh.SSHReader[bytes],
        writer: asyncssh.SSHWriter[bytes],
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(PIECE_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._connection.abort()
        await self._connection.wait_closed()


def _gigabytes(megabytes: int | None) -> int | None:
    return None if megabytes is None else math.ceil(megabytes / _MB_PER_GB)


@contextlib.contextmanager
def _told(what: str) -> Generator[None]:
    """Map what Daytona's SDK raises.

    Raises:
        InputError: when the key, the snapshot or what was asked is at fault.
        RuntimeFault: for everything else.
    """
    import daytona

    try:
        yield
    except HudError:
        raise
    except (daytona.DaytonaAuthenticationError, daytona.DaytonaForbiddenError) as error:
        raise InputError(
            f"Daytona refuses the key: {bounded(str(error), 300)}", hint="see DAYTONA_API_KEY"
        ) from error
    except daytona.DaytonaNotFoundError as error:
        raise NotFound(f"Daytona knows no {what}") from error
    except daytona.DaytonaRateLimitError as error:
        raise RuntimeFault(
            f"Daytona's limit is reached: {bounded(str(error), 300)}",
            hint="run fewer at once with --max-concurrent",
        ) from error
    except Exception as error:
        raise RuntimeFault(f"Daytona failed with {what}: {bounded(str(error), 300)}") from error
