"""A Chromium started by hand, as anybody may have one running, for tests of the cdp client."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path

from hud.capabilities.cdp import CDPClient
from hud.protocol.capability import Capability
from tests.conformance.subject import Subject
from tests.needs import need_program

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-infobars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,807",
    "--remote-debugging-port=0",
)


@dataclass(frozen=True)
class Chromium:
    """A running Chromium.

    Attributes:
        url: Address of its debugging port.
        pid: Its main process, the leader of a group of its own.
    """

    url: str
    pid: int

    @property
    def row(self) -> Capability:
        return Capability.cdp(url=self.url)

    def signal(self, number: int) -> None:
        """Signal all of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


@contextlib.contextmanager
def chromium(folder: Path, *flags: str, page: str = "about:blank") -> Generator[Chromium]:
    """Run a Chromium with a new profile in `folder`."""
    command = [need_program(*NAMES), *_FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", page]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stderr is not None
        draining = threading.Thread(target=process.stderr.read)
        running = Chromium("", process.pid)
        try:
            said: list[str] = []
            for line in process.stderr:
                said.append(line.decode(errors="replace"))
                _, found, address = said[-1].partition("DevTools listening on ws://")
                if found:
                    running = Chromium(f"http://{address.partition('/')[0]}", process.pid)
                    break
            else:
                raise AssertionError(f"chromium ended: {''.join(said)[-2000:]}")
            draining.start()
            yield running
        finally:
            running.signal(signal.SIGKILL)
            if draining.ident is not None:
                draining.join()


@contextlib.asynccontextmanager
async def serve(folder: Path) -> AsyncGenerator[Subject[CDPClient]]:
    """A Chromium started by hand."""
    with chromium(folder) as running:

        async def use(client: CDPClient) -> None:
            assert await client.evaluate("6 * 7") == 42

        def kill() -> None:
            running.signal(signal.SIGKILL)

        yield Subject(
            CDPClient, running.row, use, kill, parallel=4, impatient={"connect_timeout_s": 1.0}
        )
