"""VNC servers started by hand, as anybody may have one running, for tests of the rfb client."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path

from hud.capabilities.rfb import RFBClient
from hud.capabilities.rfb.vncauth import answer
from hud.protocol.capability import Capability
from tests.conformance.subject import Subject
from tests.needs import need_module, need_program

TIGERVNC = ("Xtigervnc", "Xvnc")
# What TigerVNC hides passwords under in files (rfb/obfuscate.c); whoever reads the file knows it.
_HIDING = bytes((23, 82, 107, 6, 35, 78, 88, 7)).decode()


@dataclass(frozen=True)
class Server:
    """A running screen.

    Attributes:
        display: Number of its X display.
        port: Where it speaks VNC.
        pid: The process that does.
    """

    display: int
    port: int
    pid: int
    password: str | None = None

    @property
    def row(self) -> Capability:
        return Capability.rfb(url=f"127.0.0.1:{self.port}", password=self.password)

    @property
    def env(self) -> dict[str, str]:
        """Variables of programs that are to be shown."""
        return {**os.environ, "DISPLAY": f":{self.display}", "NO_AT_BRIDGE": "1"}

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


@contextlib.contextmanager
def running(
    command: list[str], said: re.Pattern[str], env: dict[str, str] | None = None
) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run a server, and yield it with what it said (first group) when it was there."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        env=env,
    ) as process:
        assert process.stdout is not None
        draining = threading.Thread(target=process.stdout.read)
        heard: list[str] = []
        try:
            for line in process.stdout:
                heard.append(line)
                found = said.search(line)
                if found is not None:
                    break
            else:
                raise AssertionError(f"{command[0]} ended: {''.join(heard)[-2000:]}")
            draining.start()
            yield process, found[1]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
            if draining.ident is not None:
                draining.join()


@contextlib.contextmanager
def tigervnc(
    *flags: str, size: str = "640x480", password: tuple[str, Path] | None = None
) -> Generator[Server]:
    """Run a TigerVNC on the first free display.

    Args:
        flags: Further ones.
        size: Of its screen.
        password: What it asks for, and a folder for the file it reads that from.
    """
    need_module("PIL")
    security = ["-SecurityTypes", "None"]
    if password is not None:
        path = password[1] / "password"
        path.write_bytes(answer(_HIDING, password[0].encode().ljust(8, b"\0")[:8]))
        path.chmod(0o600)
        security = ["-SecurityTypes", "VncAuth", "-PasswordFile", str(path)]
    command = [need_program(*TIGERVNC), "-displayfd", "1", "-geometry", size, "-depth", "24"]
    command += ["-localhost", "1", "-AlwaysShared", "-noreset", "-nolisten", "tcp"]
    with running([*command, *security, *flags], re.compile(r"^(\d+)$")) as (process, display):
        number = int(display)
        yield Server(number, 5900 + number, process.pid, password and password[0])


@contextlib.contextmanager
def x11vnc() -> Generator[Server]:
    """Run an Xvfb and an x11vnc that shows it."""
    need_module("PIL")
    server = [need_program("Xvfb"), "-displayfd", "1", "-screen", "0", "640x480x24"]
    server += ["-noreset", "-nolisten", "tcp"]
    viewer = [need_program("x11vnc"), "-localhost", "-forever", "-shared", "-nopw", "-noipv6"]
    with running(server, re.compile(r"^(\d+)$")) as (_, display):
        viewer += ["-display", f":{display}", "-autoport", "5960"]
        with running(viewer, re.compile(r"^PORT=(\d+)$")) as (process, port):
            yield Server(int(display), int(port), process.pid)


async def use(client: RFBClient) -> None:
    picture = await client.screenshot()
    assert picture.startswith(b"\x89PNG")
    assert (picture.width, picture.height) == (640, 480)


@contextlib.asynccontextmanager
async def serve(folder: Path) -> AsyncGenerator[Subject[RFBClient]]:
    """A TigerVNC."""
    with tigervnc() as server:
        yield _subject(server)


@contextlib.asynccontextmanager
async def serve_with_password(folder: Path) -> AsyncGenerator[Subject[RFBClient]]:
    """A TigerVNC that asks for a password."""
    with tigervnc(password=("pa ß 5$", folder)) as server:
        yield _subject(server)


@contextlib.asynccontextmanager
async def serve_x11vnc(folder: Path) -> AsyncGenerator[Subject[RFBClient]]:
    """An x11vnc."""
    with x11vnc() as server:
        yield _subject(server)


def _subject(server: Server) -> Subject[RFBClient]:
    return Subject(
        RFBClient,
        server.row,
        use,
        lambda: server.signal(signal.SIGKILL),
        parallel=4,
        impatient={"connect_timeout_s": 1.0},
    )
