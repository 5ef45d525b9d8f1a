"""Which X server shows a desktop, its command line, and where it listens.

Starting it is `desktop_session`.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from dataclasses import dataclass
from typing import Literal

from hud._core.errors import InputError, bounded

Server = Literal["tigervnc", "xvfb+x11vnc"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS: dict[Server, tuple[tuple[str, ...], ...]] = {
    "tigervnc": (("Xtigervnc", "Xvnc"),),
    "xvfb+x11vnc": (("Xvfb",), ("x11vnc",)),
}
_INSTALL = "apt-get install tigervnc-standalone-server openbox"
_MAX_SIDE = 16_384

DISPLAY_LINE = re.compile(rb"^(\d+)\n", re.M)
BUS_LINE = re.compile(rb"^unix:\S+", re.M)
LISTENING_LINE = re.compile(rb"^PORT=\d+|Listening to TCP|Listening on unix|unixsock:", re.M)


def find(*names: str) -> str | None:
    """Return the path of the first of these programs that is installed where a sandbox sees it."""
    for name in names:
        if (path := shutil.which(name, path=_PATH)) is not None:
            return path
    return None


def choose(wanted: str | None) -> Server:
    """Return the server to use.

    Raises:
        InputError: when it is not installed, or unknown.
    """
    if wanted is not None and wanted not in _PROGRAMS:
        raise InputError(
            f"unknown desktop server {bounded(wanted)!r}", hint=f"one of {', '.join(_PROGRAMS)}"
        )
    for server, needed in _PROGRAMS.items():
        if wanted in (None, server) and all(find(*names) for names in needed):
            return server
    what = wanted or "TigerVNC nor Xvfb with x11vnc"
    raise InputError(f"no {what} is installed here", hint=_INSTALL)


@dataclass(frozen=True, slots=True)
class Screen:
    """What a server is to show, and how it is reached.

    Attributes:
        display: Its number, or None for the first free one.
        socket_folder: Folder for its Unix sockets where it must listen on no port; None where
            the sandbox has a loopback of its own.
    """

    server: Server
    width: int
    height: int
    depth: int
    display: int | None
    socket_folder: str | None

    def __post_init__(self) -> None:
        if not (0 < self.width <= _MAX_SIDE and 0 < self.height <= _MAX_SIDE):
            raise InputError(f"a desktop cannot be {self.width}x{self.height} pixels")
        if self.depth not in (16, 24):
            raise InputError(f"a desktop cannot have {self.depth} bits a pixel", hint="16 or 24")
        if self.display is not None and not 0 <= self.display < 1000:
            raise InputError(f"a desktop cannot have display number {self.display}")

    @property
    def socket_path(self) -> str | None:
        """Where it listens for VNC, if not on a port."""
        if self.socket_folder is None:
            return None
        return posixpath.join(self.socket_folder, "screen.sock")

    def x_server(self) -> list[str]:
        """Return the command line of the X server, which writes its display number to stdout."""
        network = ["-listen", "tcp"]
        if self.socket_folder is not None:
            # Clients of the same network namespace find the abstract socket without a file.
            network = ["-nolisten", "tcp", "-nolisten", "unix", "-nolock"]
        common = ["-displayfd", "1", "-noreset", "-s", "0", *network]
        if self.display is not None:
            common.insert(0, f":{self.display}")
        program = find(*_PROGRAMS[self.server][0]) or ""
        if self.server == "xvfb+x11vnc":
            size = f"{self.width}x{self.height}x{self.depth}"
            return [program, *common, "-screen", "0", size]
        path = self.socket_path
        where = [] if path is None else ["-rfbunixpath", path, "-rfbport", "-1"]
        return [
            program,
            *common,
            *("-geometry", f"{self.width}x{self.height}"),
            *("-depth", str(self.depth)),
            *("-SecurityTypes", "None"),
            *("-localhost", "1"),
            "-AlwaysShared",
            # Changes are held back for up to a frame: a screenshot waits for that.
            *("-FrameRate", "250"),
            # Offering a text would otherwise take the selection from the program that is to get it.
            *("-SetPrimary", "0"),
            *("-SendPrimary", "0"),
            *("-MaxCutText", str(4 << 20)),
            *where,
        ]

    def vnc_server(self, display: int) -> list[str] | None:
        """Return the command line of a VNC server beside the X server, if there must be one."""
        if self.server == "tigervnc":
            return None
        path = self.socket_path
        where = ["-rfbport", str(5900 + display), "-localhost"]
        if path is not None:
            where = ["-rfbport", "0", "-unixsock", path]
        return [
            find("x11vnc") or "",
            *("-display", f":{display}"),
            *where,
            *("-forever", "-shared", "-nopw", "-noipv6"),
            # It looks at the whole screen often, instead of trusting what it is told of changes.
            *("-noxdamage", "-nonap", "-wait", "5", "-defer", "1"),
        ]
