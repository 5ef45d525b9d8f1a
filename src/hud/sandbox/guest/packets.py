"""Packets with descriptors, as both ends of the supervisor's socket send and receive them."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Sequence

MAX_PACKET_BYTES = 1 << 18
MAX_FDS = 4


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Return one packet and its descriptors, closed on exec and the caller's to close.

    An empty packet is the end. Raises what `recvmsg` raises.
    """
    fds = array.array("i")
    space = socket.CMSG_LEN(MAX_FDS * fds.itemsize)
    data, ancillary, _, _ = sock.recvmsg(MAX_PACKET_BYTES, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


def send(sock: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send one packet; raises what `sendmsg` raises."""
    if fds:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        sock.sendmsg([data], [rights])
    else:
        sock.send(data)


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors, those that are closed already included."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
