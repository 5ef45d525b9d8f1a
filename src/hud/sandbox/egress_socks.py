"""SOCKS version 5 (RFC 1928), as far as programs need it to get out: CONNECT, no authentication."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable

from hud.sandbox.egress_policy import Host, Refused, parse_host
from hud.sandbox.egress_streams import Stream, splice

VERSION = 5
_NO_AUTHENTICATION = 0
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4

_GRANTED = 0
_NOT_ALLOWED = 2
_UNREACHABLE = 4
_CONNECTION_REFUSED = 5
_COMMAND_UNKNOWN = 7
_ADDRESS_UNKNOWN = 8


async def serve(client: Stream, open_host: Callable[[Host, int], Awaitable[Stream]]) -> None:
    """Serve one connection after its first byte; the caller closes it.

    Args:
        open_host: Connects, raising `Refused` where policy forbids and `OSError` or
            `TimeoutError` where it fails.
    """
    count = (await client.exactly(1))[0]
    if _NO_AUTHENTICATION not in await client.exactly(count):
        await client.send(bytes((VERSION, 0xFF)))
        return
    await client.send(bytes((VERSION, _NO_AUTHENTICATION)))
    version, command, _, kind = await client.exactly(4)
    if version != VERSION:
        return
    try:
        host = await _host(client, kind)
    except ValueError:
        await _reply(client, _ADDRESS_UNKNOWN)
        return
    port = int.from_bytes(await client.exactly(2), "big")
    if command != _CONNECT:
        await _reply(client, _COMMAND_UNKNOWN)
        return
    try:
        server = await open_host(host, port)
    except Refused:
        await _reply(client, _NOT_ALLOWED)
        return
    except ConnectionRefusedError:
        await _reply(client, _CONNECTION_REFUSED)
        return
    except (OSError, TimeoutError):
        await _reply(client, _UNREACHABLE)
        return
    try:
        await _reply(client, _GRANTED)
        await splice(client, server)
    finally:
        await server.close()


async def _host(client: Stream, kind: int) -> Host:
    if kind == _IPV4:
        return ipaddress.IPv4Address(await client.exactly(4))
    if kind == _IPV6:
        return ipaddress.IPv6Address(await client.exactly(16))
    if kind != _NAME:
        raise ValueError("unknown kind of address")
    text = (await client.exactly((await client.exactly(1))[0])).decode("ascii")
    return ipaddress.IPv6Address(text) if ":" in text else parse_host(text)


async def _reply(client: Stream, code: int) -> None:
    await client.send(bytes((VERSION, code, 0, _IPV4)) + bytes(6))
