"""A Unix socket on this machine whose connections lead to a pod's control port.

Each one is a port-forward through the API server: nothing of the pod is exposed, and whoever may
not use the API server gets no further than here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from hud._core.errors import HudError
from hud._core.relay import Relay
from hud.runtimes.kubernetes.api import Way

logger = logging.getLogger(__name__)

_OPEN_S = 30.0


class Tunnel:
    """Listen at `path`, for this user only. `open`, then `aclose` in every case."""

    def __init__(
        self,
        path: str,
        forward: Callable[[], Awaitable[Way]],
        close_way: Callable[[Way], Awaitable[None]],
    ) -> None:
        self.path = path
        self._forward = forward
        self._close_way = close_way
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: when that is not possible.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Near(self), self.path)
        Path(self.path).chmod(0o600)

    def begin(self, near: Relay) -> None:
        """Lead a connection to the pod."""
        task = asyncio.get_running_loop().create_task(self._lead(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lead(self, near: Relay) -> None:
        far = Relay()
        opening = asyncio.ensure_future(self._forward())
        try:
            async with asyncio.timeout(_OPEN_S):
                way = await asyncio.shield(opening)
            loop = asyncio.get_running_loop()
            await loop.create_unix_connection(lambda: far, sock=way.near.dup())
            if near.transport is not None and not near.transport.is_closing():
                near.transport.resume_reading()
            near.join(far)
            await asyncio.wait([near.closed, far.closed])
        except (OSError, TimeoutError, HudError) as error:
            logger.info("a connection to a pod failed: %s", error)
        finally:
            near.close()
            far.close()
            await finish(self._close(opening))

    async def _close(self, opening: asyncio.Future[Way]) -> None:
        """Close the way, once it is open, if it ever is."""
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            with contextlib.suppress(HudError):
                await self._close_way(opening.result())

    def break_off(self) -> None:
        """End every connection: the pod is gone, whatever the API server says of them."""
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Stop listening and end every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            with contextlib.suppress(OSError):
                Path(self.path).unlink()
        if self._tasks:
            self.break_off()
            await asyncio.wait(list(self._tasks))


async def finish(work: Awaitable[object]) -> None:
    """Run `work` to its end, through a cancellation too, which is raised afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()
        raise cancelled
    task.result()


class _Near(Relay):
    """A connection from this machine; it reads nothing until the way is open."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__()
        self._tunnel = tunnel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).pause_reading()
        self._tunnel.begin(self)
