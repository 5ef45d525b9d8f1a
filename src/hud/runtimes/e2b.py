"""Each rollout in a sandbox of E2B, made from a template that holds the environment.

Uses E2B's own SDK (extra `e2b`) and the variables it reads (E2B_API_KEY, E2B_DOMAIN). The control
port is reached through a command's stdio, which the SDK carries; E2B's public address of a port
takes only HTTP, and is shut here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from hud.runtimes.cloud.stdio import StdioStream, joining_command

if TYPE_CHECKING:
    from e2b import AsyncCommandHandle, AsyncSandbox

_LONGEST_LIFE_S = 86_400
_REQUEST_S = 30.0
_HANG_UP_S = 5.0
_PORT_WAIT_S = 600.0
_LOG_CHARS = 16_000


class E2BRuntime(CloudScope):
    """Give every rollout an E2B sandbox of its own.

    Resources belong to a template at E2B, so a row that asks for some is refused; a row's `image`
    is the name of a template. The sandbox ends at E2B with the row's limits, by default after an
    hour, if nobody ends it before.

    Attributes:
        template: Name or id of the template, where the row names none.
        command: What serves the environment in the sandbox, told the port by `--port`.
    """

    def __init__(
        self,
        template: str | None = None,
        *,
        command: str | None = None,
        workdir: str | None = None,
        port: int = 8765,
        runtime_config: RuntimeConfig | dict[str, Any] | None = None,
        env_vars: Mapping[str, str] | None = None,
    ) -> None:
        """Choose what to run; nothing is asked of E2B yet.

        Args:
            template: Name or id of an E2B template in which `hud` and the environment are.
            command: A shell command that serves at `port`; by default `hud serve`.
            workdir: Where it runs; by default the template's.
            port: The control port, on the sandbox's own loopback interface.
            runtime_config: What every row asks that does not ask otherwise.
            env_vars: Variables for the sandbox.
        """
        super().__init__()
        self.template = template
        self.workdir = workdir
        self.port = checked_port("E2BRuntime", port)
        self.command = command or f"hud serve --host 127.0.0.1 --port {port}"
        self.runtime_config = (
            None if runtime_config is None else RuntimeConfig.model_validate(runtime_config)
        )
        self.env_vars = checked_variables("E2BRuntime", env_vars)

    def __repr__(self) -> str:
        return f"E2BRuntime({self.template!r})"

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        asks = asks_of(task, self.runtime_config, longest_life_s=_LONGEST_LIFE_S)
        refuse(
            "E2BRuntime",
            task,
            asks,
            *("cpu", "memory_mb", "storage_mb", "gpu", "tpu", "os"),
            why="E2B fixes that when the template is built",
        )
        if not (asks.image or self.template):
            raise InputError(
                "E2BRuntime needs a template", hint="E2BRuntime('name'), or --runtime e2b:NAME"
            )
        async with self, placed(await self._cloud(), asks) as place:
            yield place

    async def _open(self, stack: AsyncExitStack) -> Cloud:
        load_sdk("e2b", runtime="E2BRuntime", extra="e2b")
        require_variables(
            "E2BRuntime", ("E2B_API_KEY",), hint="a key is made at the vendor's dashboard"
        )
        return _E2B(self)


def named(argument: str | None, source: str | Path | None, env: str | None) -> Provider:
    """Return what `--runtime e2b[:template]` means."""
    return E2BRuntime(argument)


class _E2B:
    """The vendor, as `Cloud` asks of it."""

    name = "E2B"

    def __init__(self, runtime: E2BRuntime) -> None:
        self._runtime = runtime

    async def make(self, asks: Asks) -> _Box:
        from e2b import AsyncSandbox

        runtime = self._runtime
        with _told(f"template {asks.image or runtime.template}"):
            sandbox = await AsyncSandbox.create(
                asks.image or runtime.template,
                timeout=asks.life_s,
                metadata=asks.labels,
                envs=runtime.env_vars,
                network={"allow_public_traffic": False},
                lifecycle={"on_timeout": "kill"},
                request_timeout=asks.startup_s,
            )
            box = _Box(sandbox, runtime.port)
            try:
                await box.serve(runtime.command, runtime.workdir)
            except BaseException:
                await sandbox.kill(request_timeout=_REQUEST_S)
                raise
        return box

    async def remove(self, sandbox_id: str) -> None:
        from e2b import AsyncSandbox

        with _told(f"sandbox {sandbox_id}"):
            await AsyncSandbox.kill(sandbox_id, request_timeout=_REQUEST_S)

    async def find(self, place_id: str | None = None) -> list[tuple[str, dict[str, str]]]:
        from e2b import AsyncSandbox, SandboxQuery

        found: list[tuple[str, dict[str, str]]] = []
        query = None if place_id is None else SandboxQuery(metadata={PLACE: place_id})
        with _told("the list of sandboxes"):
            pages = AsyncSandbox.list(query)
            while pages.has_next:
                found += [
                    (info.sandbox_id, dict(info.metadata))
                    for info in await pages.next_items()
                    if OWNER in info.metadata
                ]
        return found


class _Box:
    """One sandbox."""

    def __init__(self, sandbox: AsyncSandbox, port: int) -> None:
        self._sandbox = sandbox
        self._port = port
        self._serving: AsyncCommandHandle[None] | None = None
        self._printed = ""
        self.id = sandbox.sandbox_id

    async def serve(self, command: str, workdir: str | None) -> None:
        self._serving = await self._sandbox.commands.run(
            command,
            background=True,
            cwd=workdir,
            on_stdout=self._print,
            on_stderr=self._print,
            timeout=0,
            request_timeout=_REQUEST_S,
            retain_output=False,
        )

    def _print(self, text: str) -> None:
        self._printed = (self._printed + text)[-_LOG_CHARS:]

    async def logs(self) -> str:
        return self._printed

    async def ended(self) -> str:
        from e2b import CommandExitException

        assert self._serving is not None
        try:
            await self._serving.wait()
        except CommandExitException as error:
            return f"its process exited with code {error.exit_code}"
        except asyncio.CancelledError:
            await self._serving.disconnect()
            raise
        except Exception as error:
            return f"the sandbox is gone or cannot be reached: {bounded(str(error), 300)}"
        return "its process exited with code 0"

    async def dial(self) -> StdioStream:
        commands = self._sandbox.commands
        handle: AsyncCommandHandle[None] | None = None

        async def send(data: bytes) -> None:
            assert handle is not None
            await handle.send_stdin(data, _REQUEST_S)

        async def hang_up() -> None:
            if handle is not None:
                ending.cancel()
                await handle.disconnect()
                # The command lives on when its reader is gone, and may be gone already.
                with contextlib.suppress(Exception):
                    await handle.kill()
                await asyncio.wait([ending])

        stream = StdioStream(send, hang_up)
        handle = await commands.run(
            joining_command(self._port, _PORT_WAIT_S),
            background=True,
            stdin=True,
            on_stdout=stream.feed,
            timeout=0,
            request_timeout=_REQUEST_S,
            retain_output=False,
        )

        async def until_end() -> None:
            with contextlib.suppress(Exception):
                await handle.wait()
            stream.end()

        ending = asyncio.create_task(until_end())
        return stream


@contextlib.contextmanager
def _told(what: str) -> Generator[None]:
    """Map what E2B's SDK raises.

    Raises:
        InputError: when the key or the template is at fault.
        RuntimeFault: for everything else.
    """
    import e2b

    try:
        yield
    except HudError:
        raise
    except e2b.AuthenticationException as error:
        raise InputError("E2B refuses the key in E2B_API_KEY", hint="make another one") from error
    except e2b.NotFoundException as error:
        raise NotFound(f"E2B knows no {what}") from error
    except e2b.InvalidArgumentException as error:
        raise InputError(f"E2B refuses {what}: {bounded(str(error), 300)}") from error
    except e2b.RateLimitException as error:
        raise RuntimeFault(
            f"E2B's limit is reached: {bounded(str(error), 300)}",
            hint="run fewer at once with --max-concurrent",
        ) from error
    except Exception as error:
        if getattr(error, "status_code", None) == 404:
            raise NotFound(f"E2B knows no {what}") from error
        raise RuntimeFault(f"E2B failed with {what}: {bounded(str(error), 300)}") from error
