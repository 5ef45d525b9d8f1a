"""A terminal on a screen that reports every key and every move of the mouse, for rfb tests."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from hud.capabilities.rfb import RFBClient
from hud.environment.desktop_x11 import XConnection
from tests.conformance.daemons.rfb import Server
from tests.needs import need_program
from tests.wire.harness import DEADLINE_S

# Reports of every motion and button, with decimal places, and no interpretation of keys.
_REPORTING = "printf '\\033[?1003h\\033[?1006h'; stty raw -echo; exec cat"
_MOUSE = re.compile(rb"\x1b\[<(\d+);(\d+);(\d+)([Mm])")


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what another process does; nothing here is told of it."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Report:
    """One report of the mouse: button and modifier bits, cell, and whether it is a release."""

    button: int
    column: int
    row: int
    is_release: bool


class Terminal:
    """An xterm that covers the screen and writes what it receives to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def has_the_pointer(self, rfb: RFBClient) -> None:
        """Wait until it reports the mouse, which it then has and the keyboard with it."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.reports:
                await rfb.move(100, 100)
                await rfb.move(300, 200)
                await asyncio.sleep(0.02)
        await rfb.move(100, 100)

    async def is_there(self, rfb: RFBClient) -> None:
        """Wait until it reports what it gets, the mouse and the keys."""
        await self.has_the_pointer(rfb)
        await rfb.press("q")
        await self.receives(b"q")
        self.forget()

    @property
    def received(self) -> bytes:
        """The keys, as bytes a terminal program gets; the mouse's reports are left out."""
        return _MOUSE.sub(b"", self._path.read_bytes())

    @property
    def reports(self) -> list[Report]:
        """What the mouse did."""
        return [
            Report(int(button), int(column), int(row), end == b"m")
            for button, column, row, end in _MOUSE.findall(self._path.read_bytes())
        ]

    def forget(self) -> None:
        """Begin anew."""
        # The terminal appends, so it goes on at the new end.
        self._path.write_bytes(b"")

    async def receives(self, expected: bytes) -> None:
        """Wait until exactly this was typed."""
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: len(self.received) >= len(expected))
        assert self.received == expected


@contextlib.contextmanager
def terminal(server: Server, folder: Path) -> Generator[Terminal]:
    """Run one; it has the keyboard while the pointer is on the screen."""
    path = folder / "typed"
    command = f"{_REPORTING} >>'{path}'"
    path.touch()
    argv = [need_program("xterm"), "-geometry", "200x100+0+0", "-b", "0", "-bw", "0", "-u8"]
    pasting = "#override Shift <Key>Insert: insert-selection(CLIPBOARD)"
    argv += ["-xrm", f"XTerm*VT100.translations: {pasting}"]
    with subprocess.Popen(
        [*argv, "-e", "/bin/sh", "-c", command],
        env={**server.env, "LC_ALL": "C.UTF-8"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield Terminal(path)
        finally:
            process.send_signal(signal.SIGKILL)


@contextlib.asynccontextmanager
async def painter(server: Server) -> AsyncGenerator[Callable[[int], Awaitable[None]]]:
    """Yield what fills a screen with a colour, and returns once the X server has."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(f"/tmp/.X11-unix/X{server.display}")
    sock.setblocking(False)
    connection = await XConnection.open(sock)

    async def paint(colour: int) -> None:
        await connection.furnish("", colour)

    try:
        yield paint
    finally:
        await connection.close()
