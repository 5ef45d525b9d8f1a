"""Connect a protocol to a control address: `tcp://`, `unix://` or `memory://`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from hud._core.errors import InputError, bounded
from hud._core.streams import LISTENERS
from hud._core.unix_sockets import socket_itself

P = TypeVar("P", bound=asyncio.Protocol)

DEFAULT_PORT = 8765


def check_url(url: str) -> None:
    """Refuse an address no client can dial.

    Raises:
        InputError: for an unknown scheme or a malformed host or port.
    """
    if url.startswith("memory://"):
        return
    try:
        parts = urlsplit(url)
        valid = {
            "tcp": bool(parts.hostname) and (parts.port or 1) > 0,
            "unix": bool(parts.path),
        }.get(parts.scheme, False)
    except ValueError:
        valid = False
    if not valid:
        raise InputError(
            f"environment address {bounded(url)!r} cannot be dialled",
            hint="use tcp://host:port or unix:///path",
        )


async def dial(url: str, factory: Callable[[], P]) -> P:
    """Connect and return the protocol.

    Raises:
        OSError: when nothing answers there.
        InputError: when the address is malformed.
    """
    check_url(url)
    if url.startswith("memory://"):
        protocol = factory()
        LISTENERS.connect(url.removeprefix("memory://"), protocol)
        return protocol
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    if parts.scheme == "unix":
        with socket_itself(parts.path) as path:
            _, protocol = await loop.create_unix_connection(factory, path)
    else:
        port = parts.port or DEFAULT_PORT
        _, protocol = await loop.create_connection(factory, str(parts.hostname), port)
    return protocol
