"""A capability stream on the server's side: dial the daemon, answer once, splice the bytes.

Which capability and whether this connection may ask is `connection`'s decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hud._core.errors import CapabilityFault
from hud._core.outcome import Outcome
from hud._core.relay import Relay
from hud.environment.daemon import Daemon
from hud.protocol import frames
from hud.protocol.frames import HudProtocolError

DIAL_TIMEOUT_S = 30.0


async def dial(name: str, address: tuple[str, int] | None, daemon: Daemon | None) -> Relay:
    """Connect to a capability's daemon; the far side it returns reads nothing until told.

    Args:
        address: Where to connect, unless the daemon gives a connection itself.

    Raises:
        HudProtocolError: -32000 when the daemon cannot be reached.
    """
    far = Relay()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            sock = None if daemon is None else await daemon.dial()
            if sock is not None:
                transport, _ = await loop.create_connection(lambda: far, sock=sock)
            elif address is not None:
                transport, _ = await loop.create_connection(lambda: far, *address)
            else:
                raise ConnectionRefusedError("it has no address")
    except (OSError, TimeoutError, CapabilityFault) as error:
        reason = str(error) or f"no answer within {DIAL_TIMEOUT_S:g} s"
        raise HudProtocolError(
            frames.SERVER_ERROR,
            f"capability {name!r} is not reachable: {reason}",
            boundary=Outcome.CAPABILITY,
        ) from error
    transport.pause_reading()
    return far


async def splice(near: Relay, far: Relay, early: Callable[[], bytes]) -> None:
    """Pass bytes both ways until both sides are closed.

    Args:
        early: Returns what the near side had already sent after its preface.
    """
    try:
        if near.transport is not None:
            near.transport.set_protocol(near)
        data = early()
        if data:
            near.data_received(data)
        for side in (near, far):
            if side.transport is not None and not side.transport.is_closing():
                side.transport.resume_reading()
        near.join(far)
        await asyncio.wait([near.closed, far.closed])
    finally:
        near.close()
        far.close()
