"""A Unix socket on this machine whose connections lead to a pod's control port.

Each one is a port-forward through the API server: nothing of the pod is exposed, and whoever may
not use the API server gets no further than here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from hud._core.errors import HudError
from hud._core.relay import Relay

logger = logging.getLogger(__name__)

_OPEN_S = 30.0


class Tunnel:
    """Listen at `path`, for this user only. `open`, then `aclose` in every case."""

    def __init__(self, path: str, forward: Callable[[], Awaitable[socket.socket]]) -> None:
        self.path = path
        self._forward = forward
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
                sock = await asyncio.shield(opening)
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: far, sock)
            if near.transport is not None and not near.transport.is_closing():
                near.transport.resume_reading()
            near.join(far)
            await asyncio.wait([near.closed, far.closed])
        except (OSError, TimeoutError, HudError) as error:
            logger.info("a connection to a pod failed: %s", error)
        finally:
            near.close()
            far.close()
            if far.transport is None:
                opening.add_done_callback(_drop)

    async def aclose(self) -> None:
        """Stop listening and end every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            with contextlib.suppress(OSError):
                Path(self.path).unlink()
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(list(self._tasks))


def _drop(opening: asyncio.Future[socket.socket]) -> None:
    """Close a way that was opened when nobody waited for it any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


class _Near(Relay):
    """A connection from this machine; it reads nothing until the way is open."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__()
        self._tunnel = tunnel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).pause_reading()
        self._tunnel.begin(self)
