"""One run of Chromium in a sandbox: find the program, start it, wait until it answers, end it.

When it is started and for whom is `browser`'s part.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from hud._core import json
from hud._core.errors import CapabilityFault, InputError, bounded
from hud.sandbox.link import CannotStart, SandboxGone
from hud.sandbox.process import Process
from hud.sandbox.sandbox import Sandbox
from hud.sandbox.spec import SandboxSpec

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
READY_LIMIT_S = 60.0
_KEPT = 8_192
_LISTENING = re.compile(rb"DevTools listening on ws://[^/]*:(\d+)/")
_REVISION = re.compile(r"-(\d+)$")
# What a browser on a desk does for its owner, and what differs from one machine to the next.
_FLAGS = (
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--no-service-autorun",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-extensions-with-background-pages",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-infobars",
    "--disable-quic",
    "--disable-search-engine-choice-screen",
    "--disable-smooth-scrolling",
    "--disable-sync",
    "--deny-permission-prompts",
    "--force-color-profile=srgb",
    "--metrics-recording-only",
    "--mute-audio",
    "--password-store=basic",
    "--disable-features=Translate,OptimizationHints,MediaRouter,AutofillServerCommunication",
    # Frames of other sites stay in their page's process, where trees and clicks include them.
    "--disable-site-isolation-trials",
    # The sandbox around it is ours; its own would need rights that this one takes away.
    "--no-sandbox",
)


def find_chromium(named: Path | str | None) -> str:
    """Return the path of the Chromium to run.

    Raises:
        InputError: when there is none.
    """
    wanted = named or os.environ.get("HUD_CHROMIUM")
    if wanted is not None:
        found = shutil.which(str(wanted))
        if found is None:
            raise InputError(
                f"{bounded(str(wanted))!r} is no program that can be run as the browser",
                hint="give the path of a Chromium, as executable= or in HUD_CHROMIUM",
            )
        return found
    for name in NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    if (downloaded := _of_playwright()) is not None:
        return str(downloaded)
    raise InputError(
        "no Chromium is installed here",
        hint="install one (apt-get install chromium), or name it: executable= or HUD_CHROMIUM",
    )


def _of_playwright() -> Path | None:
    """Return the newest Chromium that `playwright install` has put on this machine."""
    named = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    top = Path(named) if named not in (None, "", "0") else Path.home() / ".cache" / "ms-playwright"
    found = [
        (int(match[1]), path)
        for path in top.glob("chromium-*/chrome-linux*/chrome")
        if (match := _REVISION.search(path.parent.parent.name)) and os.access(path, os.X_OK)
    ]
    return max(found)[1] if found else None


class _Output(asyncio.Protocol):
    """What Chromium says: the port it listens on, and the last of the rest."""

    def __init__(self) -> None:
        self.port: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.tail = bytearray()

    def data_received(self, data: bytes) -> None:
        self.tail += data
        if not self.port.done():
            found = _LISTENING.search(self.tail)
            if found is not None:
                self.port.set_result(int(found[1]))
        del self.tail[: max(0, len(self.tail) - _KEPT)]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.port.done():
            self.port.set_result(None)


class BrowserProcess:
    """A Chromium that runs. `end` it in every case.

    Attributes:
        sandbox: Where it runs.
        process: Its main process.
        port: Where it listens on the sandbox's loopback.
    """

    def __init__(
        self, sandbox: Sandbox, process: Process, output: _Output, pipe: asyncio.BaseTransport
    ) -> None:
        self.sandbox = sandbox
        self.process = process
        self.port = 0
        self._output = output
        self._pipe = pipe

    @classmethod
    async def start(
        cls, sandbox: Sandbox, argv: Sequence[str], env: dict[str, str]
    ) -> BrowserProcess:
        """Start it and return once it listens; on failure nothing stays behind.

        Raises:
            CapabilityFault: when it does not, with what it said last.
        """
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            output = _Output()
            file = io.FileIO(read, "rb")
            pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: output, file)
            try:
                process = await sandbox.spawn(argv, env=env, stdout=write, stderr=write)
            except BaseException:
                pipe.close()
                raise
        except (CannotStart, SandboxGone) as error:
            raise CapabilityFault(f"the browser cannot be started: {error}") from error
        finally:
            os.close(write)
        running = cls(sandbox, process, output, pipe)
        try:
            await running._ready()
        except BaseException:
            running.end()
            raise
        return running

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                port = await asyncio.shield(self._output.port)
        except TimeoutError:
            raise self._fault(f"does not answer within {READY_LIMIT_S:g} s") from None
        if port is None:
            code = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    code = await self.process.wait()
            raise self._fault(f"ended at once (exit code {code})")
        self.port = port

    @property
    def has_ended(self) -> bool:
        return self.process.exit_code is not None or not self.sandbox.is_running

    @property
    def said(self) -> str:
        """The last it wrote, at most 8 KiB."""
        return self._output.tail.decode("utf-8", "replace")

    def end(self) -> None:
        """Kill it and what it started."""
        self.process.kill()
        self.sandbox.hang_up([self.process])
        self._pipe.close()

    def _fault(self, what: str) -> CapabilityFault:
        lines = [line for line in self.said.splitlines() if line.strip() and "dbus" not in line]
        said = f"; it said last: {' | '.join(lines[-5:])}" if lines else ""
        return CapabilityFault(
            f"the browser {what}{bounded(said, 1_500)}",
            hint="run it by hand with these flags to see more: " + bounded(" ".join(_FLAGS), 200),
        )


def arguments(
    executable: str,
    sandbox: Sandbox,
    *,
    port: int,
    profile: str,
    headless: bool,
    size: tuple[int, int],
    further: Sequence[str],
) -> list[str]:
    """Return the command line of a Chromium in `sandbox` that shows an empty page."""
    argv = [executable, *_FLAGS, f"--remote-debugging-port={port}", f"--user-data-dir={profile}"]
    argv.append(f"--window-size={size[0]},{size[1]}")
    if headless:
        argv.append("--headless=new")
    if sandbox.isolation != "bwrap":
        argv.append("--disable-dev-shm-usage")
    argv += _proxy(sandbox.spec, sandbox.proxy_port)
    if sandbox.isolation != "bwrap" and sandbox.spec.peers:
        # The machine's own names are all there is, and those of peers are not among them.
        rules = (f"MAP {peer.name} {sandbox.peer_host}" for peer in sandbox.spec.peers)
        argv.append(f"--host-resolver-rules={','.join(rules)}")
    return [*argv, *further, "about:blank"]


async def prepare(sandbox: Sandbox, profile: str, downloads: str) -> None:
    """Make the profile that Chromium will start with, or clear what a dead one left locked in it.

    Raises:
        CapabilityFault: when the sandbox cannot.
    """
    script = (
        'set -e; mkdir -p "$1/Default"; rm -f "$1"/Singleton*; [ -e "$1/Default/Preferences" ] || '
        'cat > "$1/Default/Preferences"'
    )
    preferences = {
        "credentials_enable_service": False,
        "download": {"default_directory": downloads, "prompt_for_download": False},
        "profile": {"password_manager_enabled": False, "exit_type": "Normal"},
        "translate": {"enabled": False},
    }
    argv = ["/bin/sh", "-c", script, "sh", profile]
    try:
        done = await sandbox.run(argv, input=json.encode(preferences), timeout_s=READY_LIMIT_S)
    except CannotStart as error:
        raise CapabilityFault(f"the browser's profile cannot be made: {error}") from error
    if done.exit_code != 0:
        said = bounded(done.stderr.decode("utf-8", "replace"), 300)
        raise CapabilityFault(f"the browser's profile cannot be made: {said}")


def _proxy(spec: SandboxSpec, port: int) -> list[str]:
    """Return the flags that send everything but the sandbox's own services to the egress proxy."""
    if not spec.has_egress:
        return []
    direct = ";".join(peer.name for peer in spec.peers)
    return [f"--proxy-server=http://127.0.0.1:{port}", f"--proxy-bypass-list={direct}"]
