"""What the eval process, the warm parent and its children say to each other.

One message per packet on a socket pair; a `Fork` carries the listening socket beside it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TypeAlias

import msgspec

from hud._core.errors import EnvironmentFault, HudError, InputError, RuntimeFault, bounded
from hud._core.processes import LINUX

MARKER = "HUD_RUNTIME_SCOPE"
PACKET_BYTES = 128 * 1024
_TEXT_LIMIT = 4_000


class Load(msgspec.Struct, tag="load", frozen=True):
    """First message to the parent: which source, and how to place rollouts of it.

    `search` is the eval process's module path, `parent` its pid; `directory` will hold the
    sockets, and the warm parent removes it when the eval process cannot. With `fresh` nothing is
    imported here: every rollout gets an interpreter. `walled` is said of a parent that is the
    first process behind a wall: it needs no guard, and gives every rollout a view of its own.
    """

    path: str
    attribute: str | None
    env: str | None
    search: list[str]
    directory: str
    parent: int
    grace_s: float
    fresh: bool = False
    verbose: bool = False
    walled: bool = False


class Fork(msgspec.Struct, tag="fork", frozen=True):
    """Serve a rollout on the socket that comes along; `env` decides when there are several."""

    id: int
    env: str


class Stop(msgspec.Struct, tag="stop", frozen=True):
    """End a rollout's process: it has a grace to run its shutdown hooks, then it is killed."""

    id: int


class Loaded(msgspec.Struct, tag="loaded", frozen=True):
    """The source is imported; `unsafe` says why it must not be forked, if so."""

    unsafe: str | None = None


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """A rollout's process accepts connections; its initialize hooks have run."""

    id: int
    pid: int


class Failed(msgspec.Struct, tag="failed", frozen=True):
    """The source (no id) or one rollout's process could not start.

    Where a process was `started`, its end is reported on its own.
    """

    id: int | None
    code: str
    message: str
    hint: str | None = None
    started: bool = False

    @classmethod
    def of(cls, id: int | None, error: BaseException, *, started: bool = False) -> Failed:
        """Describe an error; what is not one of ours is the environment's."""
        if isinstance(error, HudError):
            return cls(id, error.code, error.message, error.hint, started)
        text = f"{type(error).__qualname__}: {bounded(str(error), 1_000)}"
        return cls(id, EnvironmentFault.code, text, None, started)

    def error(self) -> HudError:
        """Return the error to raise in the eval process."""
        kinds: tuple[type[HudError], ...] = (InputError, EnvironmentFault, RuntimeFault)
        kind = next((kind for kind in kinds if kind.code == self.code), EnvironmentFault)
        return kind(self.message, hint=self.hint)


class Exited(msgspec.Struct, tag="exited", frozen=True):
    """A rollout's process is gone and reaped; `output` is the last it printed."""

    id: int
    pid: int
    status: int
    forced: bool
    output: str


ToParent: TypeAlias = Load | Fork | Stop
FromParent: TypeAlias = Loaded | Ready | Failed | Exited

_encoder = msgspec.json.Encoder()
_to_parent: msgspec.json.Decoder[ToParent] = msgspec.json.Decoder(ToParent)
_from_parent: msgspec.json.Decoder[FromParent] = msgspec.json.Decoder(FromParent)


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a control channel that keeps packets apart."""
    kind = socket.SOCK_SEQPACKET if LINUX else socket.SOCK_DGRAM
    ends = socket.socketpair(socket.AF_UNIX, kind)
    if not LINUX:
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET_BYTES)
    return ends


def encode(message: ToParent | FromParent) -> bytes:
    """Return a message as one packet."""
    return _encoder.encode(message)


def decode_from_parent(packet: bytes) -> FromParent:
    """Read a packet on the eval process's end."""
    return _from_parent.decode(packet)


def decode_to_parent(packet: bytes) -> ToParent:
    """Read a packet on the warm parent's end."""
    return _to_parent.decode(packet)


def tail_text(output: bytes | bytearray) -> str:
    """Return the end of what a process printed, as text that fits into a message."""
    return bytes(output[-_TEXT_LIMIT:]).decode("utf-8", "replace").strip()


def send(fd: int, message: FromParent) -> None:
    """Send one packet to the eval process and wait for room; a peer that is gone is no error."""
    with contextlib.suppress(OSError):
        os.write(fd, encode(message))
