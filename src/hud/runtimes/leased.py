"""Environments lent by a platform, each reached through a tunnel while the agent stays here.

The platform's side of it is `hud.platform.leases`. What is lent is the latest deployed build.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hud._core.errors import InputError
from hud._core.relay import Relay
from hud.api import calls
from hud.api.errors import KeyRefused, NotOnPlatform, PlatformError
from hud.api.place import PlatformPlace, required_place
from hud.api.reach import check_platform
from hud.environment.task import Task
from hud.runtimes.base import Provider, Runtime, no_argument
from hud.runtimes.door import Door
from hud.runtimes.stream import joinable
from hud.trace.context import current_trace_id

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from hud.api.client import PlatformClient
    from hud.api.replies import Lease

logger = logging.getLogger(__name__)

READY_TIMEOUT_S = 300.0
_OPEN_S = 30.0
_LONGEST_PIECE_BYTES = 16 * 1024 * 1024
# A tunnel that falls silent is noticed within both together.
_PING_S, _PONG_S = 10.0, 20.0
_LEASE_IS_OVER = (4410,)
_ASK_S = 5.0


class HUDRuntime:
    """Place every rollout in an environment that a platform lends; the agent works from here.

    The environment is named by its tasks and has been deployed there. A row's image and resources
    were decided when it was deployed; a GPU, an operating system or limits of its own are refused.

    Attributes:
        run_timeout: Seconds for one rollout, where the run itself is given no `rollout_timeout`.
        runtime_url: The platform; HUD_RUNTIME_URL, else HUD_API_URL.
    """

    def __init__(self, *, run_timeout: float | None = None, runtime_url: str | None = None) -> None:
        """Choose the platform; nothing is asked yet.

        Raises:
            ValueError: when `run_timeout` is no positive number.
        """
        if run_timeout is not None and not 0 < run_timeout < math.inf:
            raise ValueError(f"HUDRuntime: run_timeout must be positive, not {run_timeout}")
        self.run_timeout = run_timeout
        self.runtime_url = runtime_url

    def __repr__(self) -> str:
        return "HUDRuntime()" if self.runtime_url is None else f"HUDRuntime({self.runtime_url!r})"

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        from hud.api.client import PlatformClient

        _refuse_asks(task)
        place = self._place()
        async with PlatformClient(place) as client:
            lease = await _lent(client, task)
            try:
                tunnels = _Tunnels(place, client, lease.id)
                async with Door(tunnels.tunnel) as door:
                    params: dict[str, Any] = {
                        "ready_timeout": READY_TIMEOUT_S,
                        "exit_reason": tunnels,
                        "session_id": lease.id,
                    }
                    yield Runtime(f"unix://{door.path}", params)
            finally:
                await _give_back(client, lease.id)

    async def check(self) -> None:
        """Ask the platform whose key this is.

        Raises:
            InputError: when no platform is configured.
            PlatformError: when it does not answer, or refuses the key.
        """
        await check_platform(self._place())

    def _place(self) -> PlatformPlace:
        from hud._core.settings import read_settings

        settings = read_settings()
        url = self.runtime_url or settings.hud_runtime_url
        if not url:
            return required_place()
        if not settings.api_key:
            raise InputError("HUDRuntime needs a key", hint="hud login, or set HUD_API_KEY")
        return PlatformPlace.at(url, settings.api_key, name="HUD_RUNTIME_URL")


def named(argument: str | None, source: str | Path | None, env: str | None) -> Provider:
    """Return what `--runtime hud` means."""
    no_argument("hud", argument)
    return HUDRuntime()


def _refuse_asks(task: Task) -> None:
    config = task.runtime_config
    if config is None:
        return
    resources, limits = config.resources, config.limits
    asked = resources is not None and (resources.gpu or resources.os or resources.tpu)
    asked = asked or config.compose is not None
    if asked or (limits is not None and limits.model_dump(exclude_none=True)):
        raise InputError(
            f"task {task.slug!r} asks for a GPU, a system, containers or limits, which an "
            "environment that is deployed already cannot change",
            hint="run it in a runtime that makes places to measure, such as docker",
        )


async def _lent(client: PlatformClient, task: Task) -> Lease:
    """Have an environment lent; cancelled meanwhile, what was lent is given back."""
    asking = asyncio.create_task(client.send(calls.lend(task.env, current_trace_id())))
    try:
        return await asyncio.shield(asking)
    except asyncio.CancelledError:
        await asyncio.wait([asking], timeout=_ASK_S)
        if asking.done() and asking.exception() is None:
            await _give_back(client, asking.result().id)
        asking.cancel()
        raise
    except (NotOnPlatform, KeyRefused) as error:
        raise InputError(error.message, hint=error.hint) from error


async def _give_back(client: PlatformClient, lease_id: str) -> None:
    """End a lease; whoever does not hear of it ends it by itself soon."""
    giving = asyncio.create_task(client.send(calls.end_lease(lease_id)))
    try:
        await asyncio.shield(giving)
    except asyncio.CancelledError:
        await asyncio.wait([giving])
        raise
    except PlatformError as error:
        logger.debug("lease %s was not given back: %s", lease_id, error)
    finally:
        if giving.done() and not giving.cancelled():
            giving.exception()


class _Tunnels:
    """The ways to one lease, each through a WebSocket of its own.

    Called, it says why the lease is over, as `exit_reason` does.
    """

    def __init__(self, place: PlatformPlace, client: PlatformClient, lease_id: str) -> None:
        parts = urlsplit(place.api_url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        prefix = parts.path.rstrip("/")
        self._url = f"{scheme}://{parts.netloc}{prefix}/runtime/tunnels/{lease_id}"
        self._headers = {"Authorization": f"Bearer {place.api_key}"}
        self._client = client
        self._lease_id = lease_id
        self._reason: str | None = None

    def __call__(self) -> str | None:
        return self._reason

    async def wait(self) -> str | None:
        """Return why the lease is over, asking the platform where it was not said."""
        if self._reason is None:
            with contextlib.suppress(PlatformError, TimeoutError):
                async with asyncio.timeout(_ASK_S):
                    lease = await self._client.send(calls.lease(self._lease_id))
                if lease.status == "ended":
                    self._reason = lease.reason or "the lease is over"
        return self._reason

    @contextlib.asynccontextmanager
    async def tunnel(self) -> AsyncGenerator[Relay]:
        """Open a way to the control port.

        Raises:
            OSError: when the platform cannot be reached.
            WebSocketException: when it refuses the tunnel.
        """
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus

        try:
            async with (
                connect(
                    self._url,
                    additional_headers=self._headers,
                    compression=None,
                    open_timeout=_OPEN_S,
                    max_size=_LONGEST_PIECE_BYTES,
                    ping_interval=_PING_S,
                    ping_timeout=_PONG_S,
                    proxy=None if _is_near(self._url) else True,
                ) as websocket,
                joinable(_Messages(websocket, self._closed)) as far,
            ):
                yield far
        except InvalidStatus as error:
            status = error.response.status_code
            if status in (401, 403, 404, 410) and self._reason is None:
                self._reason = f"the platform refuses the tunnel (HTTP {status})"
            raise

    def _closed(self, code: int | None, reason: str | None) -> None:
        if code in _LEASE_IS_OVER:
            self._reason = reason or "the lease is over"


class _Messages:
    """A WebSocket as a stream; `closed` is told its closing code and reason before its end."""

    def __init__(
        self, websocket: ClientConnection, closed: Callable[[int | None, str | None], None]
    ) -> None:
        self._websocket = websocket
        self._closed = closed

    async def read(self) -> bytes:
        from websockets.exceptions import ConnectionClosed

        try:
            piece = await self._websocket.recv()
        except ConnectionClosed:
            self._closed(self._websocket.close_code, self._websocket.close_reason)
            return b""
        return piece if isinstance(piece, bytes) else piece.encode()

    async def write(self, data: bytes) -> None:
        await self._websocket.send(data)

    async def close(self) -> None:
        """Do nothing: whoever opened it closes it."""


def _is_near(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
