"""HTTP on sockets handed out one by one: nothing listens.

uvicorn's protocol does the HTTP; what is served is any ASGI app.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from hud._core.errors import CapabilityFault

MAX_CONNECTIONS = 1_024
STOP_GRACE_S = 2.0

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# What a hostile client sends is no news: without this, Python prints uvicorn's warnings about it
# wherever nobody set up logging.
logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())


class SocketServer:
    """Serves an app on connected sockets; `connect` gives the far end of a new one."""

    def __init__(self, app: App) -> None:
        # Anything but True for access_log would silence the loggers of the whole process.
        self._config = uvicorn.Config(
            cast("Any", app),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=True,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=60,
        )
        self._config.load()
        self._state = ServerState()
        self._transports: set[asyncio.Transport] = set()
        self._why_not: str | None = None

    async def connect(self) -> socket.socket:
        """Return a new connection, non-blocking; the caller closes it.

        Raises:
            CapabilityFault: when none is to be had now.
        """
        self._transports = {one for one in self._transports if not one.is_closing()}
        if self._why_not is not None:
            raise CapabilityFault(self._why_not)
        if len(self._transports) >= MAX_CONNECTIONS:
            raise CapabilityFault(f"{len(self._transports)} connections are open already")
        near, far = socket.socketpair()
        try:
            near.setblocking(False)
            far.setblocking(False)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_accepted_socket(self._protocol, near)
        except BaseException:
            near.close()
            far.close()
            raise
        self._transports.add(transport)
        if self._why_not is not None:  # cut while it was made: the far end reads its end
            transport.abort()
        return far

    def _protocol(self) -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", self._config.http_protocol_class)
        return make(config=self._config, server_state=self._state, app_state={})

    def open(self) -> None:
        """Let clients connect again."""
        self._why_not = None

    async def cut(self, why: str) -> None:
        """End every connection, wait for the requests on them, and give out no more of them."""
        self._why_not = why
        for transport in self._transports:
            transport.abort()
        if self._state.tasks:
            _, late = await asyncio.wait(set(self._state.tasks), timeout=STOP_GRACE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=STOP_GRACE_S)
