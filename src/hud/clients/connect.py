"""Connect to a placed environment: retry until it answers, keep it alive, close it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from hud._core.errors import EnvironmentFault, RuntimeFault
from hud.clients.channel import Channel
from hud.clients.client import HudClient
from hud.clients.dial import check_url, dial
from hud.protocol.frames import HudProtocolError

DEFAULT_READY_TIMEOUT = 240.0
_FIRST_DELAY_S = 0.02
_LAST_DELAY_S = 1.0


class Address(Protocol):
    """What `connect` needs of a runtime: its url, and `ready_timeout` among its params."""

    @property
    def url(self) -> str: ...
    @property
    def params(self) -> dict[str, Any]: ...


class connect:  # noqa: N801 -- used as a function: `async with connect(runtime) as client`
    """Connect inside an `async with` block: yields a client whose handshake succeeded.

    Dials again, with growing pauses, until the environment answers `hello` or the time is up;
    `runtime.params["ready_timeout"]` takes precedence (seconds), and `"exit_reason"`, a callable
    that says why the place is gone, ends the waiting early. The connection is kept alive, and
    closed when the block ends.

    Entering raises:
        RuntimeFault: when nothing answers in time.
        EnvironmentFault: when what answers is no environment.
        InputError: when the address is malformed.
    """

    def __init__(self, runtime: Address, *, ready_timeout: float = DEFAULT_READY_TIMEOUT) -> None:
        self._url = runtime.url
        self._limit_s = float(runtime.params.get("ready_timeout") or ready_timeout)
        self._exit_reason: Callable[[], str | None] = runtime.params.get("exit_reason") or _alive
        self._client: HudClient | None = None

    async def __aenter__(self) -> HudClient:
        client = self._client = await _handshake(self._url, self._limit_s, self._exit_reason)
        if not self._url.startswith("memory:"):
            client.start_heartbeat()
        return client

    async def __aexit__(self, *exc: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def _alive() -> None:
    """Say nothing of a place that cannot be asked."""


async def _handshake(url: str, limit_s: float, exit_reason: Callable[[], str | None]) -> HudClient:
    check_url(url)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    delay = _FIRST_DELAY_S
    while True:
        client: HudClient | None = None
        try:
            async with asyncio.timeout_at(deadline):
                channel = await dial(url, Channel)
                client = HudClient(channel=channel, url=url)
                await client.hello()
            return client
        except HudProtocolError as error:
            if client is not None:
                await client.close()
            raise EnvironmentFault(f"{url} refused the handshake: {error.message}") from error
        except (OSError, RuntimeFault, TimeoutError) as error:
            if client is not None:
                client.abort()
                await client.close()
            gone = exit_reason()
            if gone or url.startswith("memory:") or loop.time() + delay >= deadline:
                reason = gone or str(error) or "no answer"
                raise RuntimeFault(
                    f"no environment answered at {url}: {reason}"
                    if gone
                    else f"no environment answered at {url} within {limit_s:g} s: {reason}",
                    hint="is it serving? start it with: hud serve",
                ) from error
        except BaseException:
            if client is not None:
                client.abort()
                await client.close()
            raise
        await asyncio.sleep(delay)
        delay = min(delay * 2, _LAST_DELAY_S)
