"""A browser the agent drives over the DevTools protocol, inside a sandbox, fresh per episode.

The process itself is `browser_process`; driving it is `hud.capabilities.cdp`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import posixpath
import socket
import weakref
from collections.abc import AsyncGenerator
from pathlib import Path

from typing_extensions import Unpack

from hud._core.errors import CapabilityFault, InputError, bounded
from hud.capabilities.cdp import CDPClient, CDPError
from hud.environment.browser_options import OF_THE_SANDBOX, BrowserOptions
from hud.environment.browser_process import BrowserProcess, arguments, find_chromium, prepare
from hud.environment.daemon import Daemon
from hud.environment.exposed_port import exposed
from hud.protocol.capability import Capability
from hud.sandbox import files, folders
from hud.sandbox.confinement import free_port
from hud.sandbox.sandbox import Sandbox
from hud.sandbox.spec import Isolation, Limits, Mount, SandboxSpec
from hud.sandbox.watch import Quota

logger = logging.getLogger(__name__)

_DOWNLOADS = "/downloads"
_DYING_S = 2.0
# Without what is known of the fonts, every start looks through all of them.
_FONTS = "/var/cache/fontconfig"
# Where the toolbar of a browser that draws one is; corrected once the real size is known.
_TOOLBAR = 87


class Browser(Daemon):
    """A Chromium in a sandbox of its own, or in a workspace's.

    Its debugging port is reachable through the capability alone. A browser that dies during an
    episode is started again, with the same profile, when it is next connected to. Args: see
    `BrowserOptions`.
    """

    def __init__(self, name: str = "browser", **options: Unpack[BrowserOptions]) -> None:
        super().__init__(name)
        unknown = set(options) - set(BrowserOptions.__annotations__)
        if unknown:
            raise TypeError(f"Browser has no option {sorted(unknown)[0]!r}")
        self._options = options
        self._workspace = options.get("workspace")
        if self._workspace is not None:
            theirs = [key for key in OF_THE_SANDBOX if options.get(key)]
            if theirs:
                raise InputError(
                    f"browser {name!r} runs in the workspace's sandbox: {theirs[0]!r} is not its "
                    "own to choose",
                    hint="give it to the workspace",
                )
        reserve = None if self._workspace is None else self._workspace.reserve_port
        self._reserved = None if reserve is None else reserve()
        self._private: list[Path] = []
        self._executable = ""
        self._sandbox: Sandbox | None = None
        self._running: BrowserProcess | None = None
        self._folder: Path | None = None
        self._quota: Quota | None = None
        self._port = 0
        self._episode = 0
        self._is_open = False
        self._is_untouched = False
        self._is_admitting = False
        self._starting = asyncio.Lock()
        self._given: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    # -- what it is

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox it runs in.

        Raises:
            CapabilityFault: before it is started.
        """
        sandbox = self._sandbox if self._workspace is None else self._workspace.sandbox
        if sandbox is None:
            raise CapabilityFault(f"browser {self.name!r} is not started")
        return sandbox

    @property
    def isolation(self) -> Isolation:
        """What separates it from this machine."""
        return self.sandbox.isolation

    @property
    def untrusted_uid(self) -> int | None:
        sandbox = self._sandbox
        if sandbox is None or not sandbox.is_running or sandbox.isolation != "uid":
            return None
        return sandbox.uid

    @property
    def downloads(self) -> Path:
        """The folder on this machine that downloads go to.

        Raises:
            CapabilityFault: before it is started, where it makes one of its own.
        """
        given = self._options.get("downloads")
        if self._workspace is not None:
            return self._workspace.root / (given or "downloads")
        folder = self._folder if given is None else Path(given).expanduser().absolute()
        if folder is None:
            raise CapabilityFault(f"browser {self.name!r} has no downloads before it is started")
        return folder

    def read_download(self, name: str, *, max_bytes: int = 16 << 20) -> bytes:
        """Return a downloaded file's content, following no link the agent may have made.

        Raises:
            UnsafePath: when it is no plain file of that folder.
            FileNotFoundError: when there is none of that name.
        """
        return files.read_bytes(self.downloads, name, max_bytes=max_bytes)

    def capability(self) -> Capability:
        """Return the row clients see; its address is the one inside the sandbox.

        Its scheme is http, so that Playwright and others can attach to the forwarded row as it is.
        """
        row = Capability.cdp(name=self.name, url=f"http://127.0.0.1:{self._port or 9222}")
        return Capability(
            row.name, row.protocol, row.url, {**row.params, "downloads": self._guest_downloads}
        )

    @property
    def _guest_downloads(self) -> str:
        guest = self.sandbox.guest_path
        if self._workspace is None:
            return guest
        return posixpath.join(guest, str(self._options.get("downloads") or "downloads"))

    def keep_private(self, source: str | Path | None) -> None:
        """Make sure that a file of the environment's own cannot be read by the browser.

        Raises:
            InputError: when it lies in the folder for downloads.
        """
        if source is None or self._workspace is not None:
            return
        path = Path(os.path.realpath(source))
        given = self._options.get("downloads")
        if given is not None and path.is_relative_to(os.path.realpath(self.downloads)):
            raise InputError(
                f"the downloads of browser {self.name!r} would lie beside the environment's own "
                f"source ({path.name})",
                hint="give downloads a folder of their own, such as a subfolder",
            )
        self._private.append(path)

    # -- its life

    async def start(self) -> None:
        if self._is_open:
            return
        found = find_chromium(self._options.get("executable"))
        # A link outside of /usr would not be there inside.
        self._executable = found if found.startswith("/usr/") else os.path.realpath(found)
        self._is_open = True
        try:
            await self._open()
        except BaseException:
            await self.stop()
            raise
        self._is_admitting = True

    async def stop(self) -> None:
        self._is_open = self._is_admitting = False
        self._cut()
        await self._shut()

    async def begin_episode(self) -> None:
        self._is_admitting = False
        self._cut()
        # One that nobody has used begins the first episode as it is, unless a page was opened in
        # it, which the environment's code may have changed meanwhile.
        if not (self._is_untouched and self._has_nothing_of_others()):
            await self._shut()
            await self._open()
        self._is_admitting = True

    def _has_nothing_of_others(self) -> bool:
        running = self._running
        options = self._options
        return (
            self._workspace is None
            and options.get("url") is None
            and options.get("downloads") is None
            and running is not None
            and not running.has_ended
        )

    async def end_episode(self) -> None:
        self._is_admitting = False
        self._is_untouched = False
        self._cut()

    async def dial(self) -> socket.socket | None:
        if not self._is_admitting:
            raise CapabilityFault(f"browser {self.name!r} takes no connections between episodes")
        sock = await self._connect()
        self._given.add(sock)
        return sock

    def _cut(self) -> None:
        """End the connections that were given out."""
        given, self._given = list(self._given), weakref.WeakSet()
        for sock in given:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    # -- for templates and graders

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncGenerator[CDPClient]:
        """Drive it from the environment's own code, also while agents may not connect.

        Raises:
            CapabilityFault: when it does not run and cannot be started.
        """
        cdp = await CDPClient.connect(self.capability(), dial=self._connect)
        async with cdp:
            yield cdp

    @contextlib.asynccontextmanager
    async def expose(self) -> AsyncGenerator[str]:
        """Make it reachable on this machine's loopback inside the block, for other drivers.

        Yields an address such as `http://127.0.0.1:34567`, for Playwright's `connect_over_cdp`.
        """
        async with exposed(self._connect) as address:
            yield f"http://{address}"

    # -- starting it

    async def _open(self) -> None:
        """Start it with a new profile, in a new sandbox unless that is the workspace's."""
        self._episode += 1
        if self._workspace is None:
            if self._options.get("downloads") is None:
                self._folder = folders.make("downloads")
            self.downloads.mkdir(parents=True, exist_ok=True)
            self._port = free_port()
            sandbox = self._sandbox = Sandbox(self._spec())
            await sandbox.start()
            if sandbox.isolation == "none":
                logger.warning("browser %r has no isolation, as asked for", self.name)
            if sandbox.uid != os.geteuid():
                folder = self.downloads
                await asyncio.to_thread(files.hand_over, folder, sandbox.uid, sandbox.gid)
            self._quota = Quota(sandbox, self._full, what="the downloads folder")
            self._quota.start()
        self._running = await self._launch()
        self._is_untouched = True

    def _spec(self) -> SandboxSpec:
        options = self._options
        return SandboxSpec(
            root=self.downloads,
            guest_path=_DOWNLOADS,
            mounts=self._mounts(),
            env=dict(options.get("env") or {}),
            network=options.get("network", False),
            allowed_hosts=options.get("allowed_hosts"),
            peers=tuple(options.get("peers") or ()),
            # Needed where loopback is the machine's own; elsewhere any number is free.
            served=(self._port,),
            limits=options.get("limits") or Limits(),
            isolation=options.get("isolation"),
            private=tuple(self._private),
        )

    def _mounts(self) -> tuple[Mount, ...]:
        """Return what must be seen beside the system's own folders: the program, if elsewhere."""
        fonts = Mount("ro", _FONTS, _FONTS, optional=True)
        home = Path(self._executable).resolve().parent
        if home.is_relative_to("/usr"):
            return (fonts,)
        return (fonts, Mount("ro", str(home), str(home)))

    async def _launch(self) -> BrowserProcess:
        """Start it, give it its size and show the page that episodes begin with."""
        sandbox = self.sandbox
        profile = posixpath.join(sandbox.home, f".browser-{self.name}-{self._episode}")
        await prepare(sandbox, profile, self._guest_downloads)
        width, height = self._size
        argv = arguments(
            self._executable,
            sandbox,
            port=self._own_port(),
            profile=profile,
            headless=self._options.get("headless", True),
            size=(width, height + _TOOLBAR),
            further=self._options.get("args") or (),
        )
        # Its lock lies in the folder for temporary files, which need not be writable otherwise.
        env = {"TMPDIR": sandbox.home, **(self._options.get("env") or {})}
        running = await BrowserProcess.start(sandbox, argv, env)
        self._port = running.port
        try:
            dial = functools.partial(sandbox.dial, running.port)
            async with await CDPClient.connect(self.capability(), dial=dial) as cdp:
                await self._furnish(cdp)
        except BaseException:
            running.end()
            raise
        return running

    def _own_port(self) -> int:
        """Return the port to listen on: any in a workspace that has a loopback of its own."""
        if self._reserved is None:
            return self._port
        return self._reserved() if self.sandbox.isolation == "uid" else 0

    @property
    def _size(self) -> tuple[int, int]:
        return self._options.get("width", 1280), self._options.get("height", 720)

    async def _furnish(self, cdp: CDPClient) -> None:
        url = self._options.get("url")
        width, height = self._size
        try:
            if await cdp.viewport() != (width, height):
                await _resize(cdp, width, height)
        except (CDPError, KeyError) as error:
            logger.warning("browser %r keeps the size it has: %s", self.name, error)
        if url is None:
            return
        try:
            await cdp.navigate(url)
        except CDPError as error:
            raise CapabilityFault(
                f"browser {self.name!r} cannot begin at {bounded(url)}: {error.message}",
                hint="its sandbox has a loopback of its own: reach services of this machine as "
                "peers, and the internet with network or allowed_hosts",
            ) from error

    async def _connect(self) -> socket.socket:
        """Return a new connection to it, having started it again if it has ended.

        Raises:
            CapabilityFault: when it does not run and cannot be started.
        """
        if not self._is_open:
            raise CapabilityFault(f"browser {self.name!r} is not started")
        self._is_untouched = False
        running = self._running
        if running is None or running.has_ended:
            running = await self._again(running)
        try:
            return await running.sandbox.dial(running.port)
        except CapabilityFault:
            # It may be dying just now.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DYING_S):
                    await running.process.wait()
            if not running.has_ended:
                raise
        running = await self._again(running)
        return await running.sandbox.dial(running.port)

    async def _again(self, ended: BrowserProcess | None) -> BrowserProcess:
        """Start it again after it ended, once for all who ask."""
        async with self._starting:
            if self._running is not None and self._running is not ended:
                return self._running
            if ended is not None:
                logger.warning("browser %r ended; it is started again", self.name)
                ended.end()
            sandbox = self.sandbox
            if not sandbox.is_running:
                if self._workspace is not None:
                    raise CapabilityFault(f"the sandbox of browser {self.name!r} has ended")
                await sandbox.start()
            elif self._workspace is None:
                await sandbox.sweep()
            self._running = None
            self._running = await self._launch()
            return self._running

    async def _full(self, reason: str) -> None:
        """End it because it wrote too much; whoever connects next has it started again."""
        async with self._starting:
            logger.warning("browser %r was ended: %s", self.name, reason)
            if self._sandbox is not None:
                await self._sandbox.sweep()

    async def _shut(self) -> None:
        """End everything."""
        quota, self._quota = self._quota, None
        if quota is not None:
            await quota.aclose()
        running, self._running = self._running, None
        if running is not None:
            running.end()
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await sandbox.stop()
        folder, self._folder = self._folder, None
        if folder is not None:
            await asyncio.to_thread(files.remove_tree, folder)


async def _resize(cdp: CDPClient, width: int, height: int) -> None:
    window = await cdp.send("Browser.getWindowForTarget", {"targetId": (await cdp.tabs())[0].id})
    contents = {"windowId": window["windowId"], "width": width, "height": height}
    await cdp.send("Browser.setContentsSize", contents)
