"""Which user of this machine is at the other end of a connection.

For a port that must not serve a sandbox whose only wall is its uid. Whether to serve an unknown
caller is the server's decision; `is_local` tells it whether that caller is on this machine.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import struct
import sys
from asyncio import BaseTransport, trsock
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

Connection = BaseTransport | socket.socket | trsock.TransportSocket
_End = tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ANSWER_BYTES = 8192
_DIAG_TIMEOUT_S = 1.0
_NO_COOKIE = 0xFFFF_FFFF
# Only a socket that a process still holds has its owner's uid; later ones are nobody's or root's.
_HELD_STATES = frozenset((1, 4, 5, 8))
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_TABLE_LINES = 1 << 20


def peer_uid(connection: Connection) -> int | None:
    """Return the uid of the process that made the other end, or None.

    None for a peer on another machine or in another network namespace, for a connection its
    process has closed already, and wherever it cannot be told for sure.
    """
    stream = _socket(connection)
    if stream is None or not sys.platform.startswith("linux"):
        return None
    try:
        if stream.family == socket.AF_UNIX:
            credentials = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            uid: int = struct.unpack("iII", credentials)[1]
            return None if uid == _NO_COOKIE else uid
        own, peer = _end(stream.getsockname()), _end(stream.getpeername())
    except (OSError, ValueError):
        return None
    for ask in (_from_kernel, _from_tables):
        with contextlib.suppress(OSError, ValueError, struct.error):
            return ask(own, peer)
    return None


def is_local(connection: Connection) -> bool:
    """Whether the other end has an address of this machine; True when that cannot be told."""
    stream = _socket(connection)
    if stream is None:
        return True
    try:
        if stream.family == socket.AF_UNIX:
            return True
        address = _end(stream.getpeername())[0]
    except (OSError, ValueError):
        return True
    if address.is_loopback or address == _end(stream.getsockname())[0]:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        # Only an address of this machine can be bound to.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True


def _socket(connection: Connection) -> socket.socket | trsock.TransportSocket | None:
    if isinstance(connection, BaseTransport):
        found: Any = connection.get_extra_info("socket")
        return cast("trsock.TransportSocket | None", found)
    return connection


def _end(name: Any) -> _End:
    """Return an address and port as the socket tables have them, IPv4 as such."""
    if not isinstance(name, tuple):
        raise ValueError("no Internet address")
    text, port = cast("tuple[str, int]", name)[:2]
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address, port


def _from_kernel(own: _End, peer: _End) -> int | None:
    """Ask the kernel for the one socket of the other end (sock_diag(7)).

    Raises:
        OSError: where it does not answer such questions.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diag:
        diag.settimeout(_DIAG_TIMEOUT_S)
        try:
            return _asked(diag, peer, own)
        except FileNotFoundError:
            # The same error says that there is no such socket and that nobody knows of sockets;
            # one's own is there for sure.
            _asked(diag, own, peer)
            return None


def _asked(diag: socket.socket, near: _End, far: _End) -> int | None:
    """Return the owner of the socket with these ends, None where nobody holds it any more.

    Raises:
        FileNotFoundError: when there is no such socket.
    """
    for family, (here, there) in _spellings(near[0], far[0]):
        identity = struct.pack("!HH", near[1], far[1])
        identity += here.ljust(16, b"\0") + there.ljust(16, b"\0")
        identity += struct.pack("=III", 0, _NO_COOKIE, _NO_COOKIE)
        body = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 0xFFFF_FFFF) + identity
        header = (16 + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
        diag.sendto(struct.pack("=IHHII", *header) + body, (0, 0))
        with contextlib.suppress(FileNotFoundError):
            return _answer(diag.recv(_ANSWER_BYTES), identity[:4])
    raise FileNotFoundError(errno.ENOENT, "no such socket")


def _answer(data: bytes, ports: bytes) -> int | None:
    kind = struct.unpack_from("=H", data, 4)[0]
    if kind == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", data, 16)[0]
        raise OSError(number, os.strerror(number))
    if kind != _SOCK_DIAG_BY_FAMILY:
        raise ValueError("not the answer asked for")
    # struct inet_diag_msg: 4 bytes, the identity (48), then expires, rqueue, wqueue, uid, inode.
    state = data[17]
    # Where no connection matches, a listener on the same port does: it is not the peer.
    if data[20:24] != ports:
        raise FileNotFoundError(errno.ENOENT, "no such socket")
    uid, inode = struct.unpack_from("=II", data, 16 + 4 + 48 + 12)
    return uid if state in _HELD_STATES and inode != 0 else None


def _spellings(
    near: ipaddress.IPv4Address | ipaddress.IPv6Address,
    far: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    """Yield the families, and the addresses in them, by which a socket may be known."""
    if near.version == 4 and far.version == 4:
        yield socket.AF_INET, (near.packed, far.packed)
        mapped = b"\0" * 10 + b"\xff\xff"
        yield socket.AF_INET6, (mapped + near.packed, mapped + far.packed)
    elif near.version == 6 and far.version == 6:
        yield socket.AF_INET6, (near.packed, far.packed)


def _from_tables(own: _End, peer: _End) -> int | None:
    """Look the other end up in /proc/net/tcp and tcp6 (proc(5)).

    Raises:
        OSError: when they cannot be read to the end.
    """
    wanted = {
        (f"{_hex(near)}:{peer[1]:04X}", f"{_hex(far)}:{own[1]:04X}")
        for _, (near, far) in _spellings(peer[0], own[0])
    }
    for path in _TABLES:
        with contextlib.suppress(FileNotFoundError), path.open(encoding="ascii") as table:
            for fields in _rows(table):
                if (fields[1], fields[2]) in wanted:
                    is_held = int(fields[3], 16) in _HELD_STATES and fields[9] != "0"
                    return int(fields[7]) if is_held else None
    return None


def _rows(table: IO[str]) -> Iterator[list[str]]:
    table.readline()
    for count, line in enumerate(table):
        if count >= _TABLE_LINES:
            raise OSError(errno.E2BIG, "the table of sockets is too long")
        fields = line.split()
        if len(fields) >= 10:
            yield fields


def _hex(packed: bytes) -> str:
    """Spell an address as the tables do: words in the machine's byte order."""
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words)
