"""A Chromium started by hand, as anybody may have one running, for tests of the cdp client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from hud.protocol.capability import Capability
from tests.needs import need_program

DEADLINE_S = 60.0
NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,863",
    "--remote-debugging-port=0",
)


@dataclass(frozen=True)
class Chromium:
    """A running Chromium.

    Attributes:
        url: Address of its debugging port.
        process: Its main process, the leader of a group of its own.
    """

    url: str
    process: asyncio.subprocess.Process

    @property
    def row(self) -> Capability:
        return Capability.cdp(url=self.url)

    def kill(self) -> None:
        """Kill all of it, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def chromium(
    folder: Path, *flags: str, page: str = "about:blank"
) -> AsyncGenerator[Chromium]:
    """Run a Chromium with a new profile in `folder`."""
    process = await asyncio.create_subprocess_exec(
        need_program(*NAMES),
        *_FLAGS,
        *flags,
        f"--user-data-dir={folder / 'profile'}",
        page,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    draining: asyncio.Task[bytes] | None = None
    try:
        assert process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            port = await _port(process.stderr)
        draining = asyncio.create_task(process.stderr.read())
        yield Chromium(f"http://127.0.0.1:{port}", process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if draining is not None:
            await draining
        await process.wait()


async def _port(stderr: asyncio.StreamReader) -> int:
    said: list[str] = []
    while line := (await stderr.readline()).decode(errors="replace"):
        said.append(line)
        before, found, address = line.partition("DevTools listening on ws://127.0.0.1:")
        if found and not before.strip():
            return int(address.partition("/")[0])
    raise AssertionError(f"chromium ended: {''.join(said)[-2000:]}")
