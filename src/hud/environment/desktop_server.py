"""Which X server shows a desktop, its command line, and where it listens.

Starting it is `desktop_session`.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hud._core.errors import InputError, bounded
from hud.sandbox.spec import Isolation

Server = Literal["tigervnc", "xvfb+x11vnc"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS: dict[Server, tuple[tuple[str, ...], ...]] = {
    "tigervnc": (("Xtigervnc", "Xvnc"),),
    "xvfb+x11vnc": (("Xvfb",), ("x11vnc",)),
}
_INSTALL = "apt-get install tigervnc-standalone-server openbox"
_MAX_SIDE = 16_384
_LISTENING: dict[Isolation, tuple[str, ...]] = {
    "bwrap": ("-listen", "tcp"),
    # Every program is confined by itself, and so does not reach abstract sockets of another one.
    "uid": ("-nolisten", "tcp", "-nolisten", "local"),
    "none": ("-nolisten", "tcp", "-nolisten", "unix", "-nolock"),
}

DISPLAY_LINE = re.compile(rb"^(\d+)\n", re.M)
BUS_LINE = re.compile(rb"^unix:\S+", re.M)
LISTENING_LINE = re.compile(rb"^PORT=\d+|listening on unix socket:", re.M)


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
        isolation: Of the sandbox it runs in. Where that has no loopback of its own, the server
            listens on no port.
        display: Its number, or None for the first free one.
        socket_folder: Folder for its Unix socket, where it listens on no port.
    """

    server: Server
    width: int
    height: int
    depth: int
    isolation: Isolation
    display: int | None
    socket_folder: str | None = None

    def __post_init__(self) -> None:
        if not (0 < self.width <= _MAX_SIDE and 0 < self.height <= _MAX_SIDE):
            raise InputError(f"a desktop cannot be {self.width}x{self.height} pixels")
        if self.depth not in (16, 24):
            raise InputError(f"a desktop cannot have {self.depth} bits a pixel", hint="16 or 24")
        if self.display is not None and not 0 <= self.display < 1000:
            raise InputError(f"a desktop cannot have display number {self.display}")

    def x_socket(self, display: int) -> str | None:
        """Return where the X server listens, if not on a port; an abstract name begins with NUL."""
        path = f"/tmp/.X11-unix/X{display}"
        return {"bwrap": None, "uid": path, "none": f"\0{path}"}[self.isolation]

    def remove_files(self, display: int) -> None:
        """Remove what a killed X server leaves in a folder it shares with others."""
        if self.isolation == "uid" and display:
            for path in (f"/tmp/.X11-unix/X{display}", f"/tmp/.X{display}-lock"):
                Path(path).unlink(missing_ok=True)

    @property
    def socket_path(self) -> str | None:
        """Where it listens for VNC, if not on a port."""
        if self.socket_folder is None:
            return None
        return posixpath.join(self.socket_folder, "screen.sock")

    def x_server(self) -> list[str]:
        """Return the command line of the X server, which writes its display number to stdout."""
        common = ["-displayfd", "1", "-noreset", "-s", "0", *_LISTENING[self.isolation]]
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
