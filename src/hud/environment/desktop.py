"""A desktop the agent sees and works over VNC, inside a sandbox, fresh for every episode.

What runs there is `desktop_session`; driving it is `hud.capabilities.rfb`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import tempfile
import weakref
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Unpack

from hud._core.errors import CapabilityFault, InputError
from hud.environment import desktop_server
from hud.environment.daemon import Daemon
from hud.environment.desktop_options import OF_THE_SANDBOX, DesktopOptions
from hud.environment.desktop_server import Screen
from hud.environment.desktop_session import Session, command_line
from hud.protocol.capability import Capability
from hud.sandbox import files, folders
from hud.sandbox.sandbox import Sandbox
from hud.sandbox.spec import Isolation, Limits, Mount, SandboxSpec
from hud.sandbox.watch import Quota

if TYPE_CHECKING:
    from hud.capabilities.rfb import RFBClient, Screenshot

logger = logging.getLogger(__name__)

START_S = 30.0
_PICTURE_S = 5.0
# Without what is known of the fonts, every start looks through all of them.
_FONTS = "/var/cache/fontconfig"
_RESERVED_KEYS = 5
_FIRST_DISPLAY = 100


class Desktop(Daemon):
    """A screen with a window manager and programs, in a sandbox of its own or in a workspace's.

    It listens where the capability alone reaches it. Programs that the agent ends stay ended; a
    window manager is started again at once, and a screen that is gone when it is next connected
    to. Args: see `DesktopOptions`.

    Attributes:
        last_screenshot: What it showed when the last episode ended, as PNG; None where no picture
            could be taken.
    """

    def __init__(self, name: str = "screen", **options: Unpack[DesktopOptions]) -> None:
        super().__init__(name)
        unknown = set(options) - set(DesktopOptions.__annotations__)
        if unknown:
            raise TypeError(f"Desktop has no option {sorted(unknown)[0]!r}")
        self._options = options
        self._workspace = options.get("workspace")
        if self._workspace is not None:
            self._check_shared()
        self._programs = [command_line(program) for program in options.get("programs") or ()]
        self._private: list[Path] = []
        self._sandbox: Sandbox | None = None
        self._apart: Sandbox | None = None
        self._session: Session | None = None
        self._quota: Quota | None = None
        self._sockets: Path | None = None
        self._is_open = False
        self._is_admitting = False
        self._starting = asyncio.Lock()
        self._given: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.last_screenshot: Screenshot | None = None
        self._screen("bwrap")  # says at once what is wrong with the options

    # -- what it is

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox it runs in.

        Raises:
            CapabilityFault: before it is started.
        """
        sandbox = self._sandbox if self._workspace is None else self._workspace.sandbox
        if sandbox is None:
            raise CapabilityFault(f"desktop {self.name!r} is not started")
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
    def display(self) -> int:
        """Number of its X display inside the sandbox.

        Raises:
            CapabilityFault: while it does not run.
        """
        if self._session is None:
            raise CapabilityFault(f"desktop {self.name!r} does not run")
        return self._session.display

    @property
    def log_tail(self) -> str:
        """The last its window manager and programs wrote, at most 8 KiB."""
        return "" if self._session is None else self._session.said

    def capability(self) -> Capability:
        """Return the row clients see; its address is the one inside the sandbox."""
        session = self._session
        display = 0 if session is None else session.display
        row = Capability.rfb(name=self.name, url=f"127.0.0.1:{5900 + display}", display=display)
        spare = 0 if session is None else max(0, session.spare_keys - _RESERVED_KEYS)
        return Capability(row.name, row.protocol, row.url, {**row.params, "spare_keys": spare})

    def keep_private(self, source: str | Path | None) -> None:
        """Make sure that a file of the environment's own cannot be read from the desktop."""
        if source is not None and self._workspace is None:
            self._private.append(Path(os.path.realpath(source)))

    # -- its life

    async def start(self) -> None:
        if self._is_open:
            return
        self._is_open = True
        try:
            await self._open()
        except BaseException:
            await self.stop()
            raise
        self._is_admitting = True

    async def stop(self) -> None:
        self._is_open = self._is_admitting = False
        await self._shut()

    async def begin_episode(self) -> None:
        self._is_admitting = False
        await self._shut()
        await self._open()
        self._is_admitting = True

    async def end_episode(self) -> None:
        self._is_admitting = False
        self._cut()
        await self._take_last()
        if not self._options.get("keep_running", False):
            await self._shut()

    async def dial(self) -> socket.socket | None:
        if not self._is_admitting:
            raise CapabilityFault(f"desktop {self.name!r} takes no connections between episodes")
        sock = await self._connect()
        self._given.add(sock)
        return sock

    # -- for templates and graders

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncGenerator[RFBClient]:
        """See and work it from the environment's own code, also while agents may not connect.

        Raises:
            CapabilityFault: when it does not run and cannot be started.
        """
        from hud.capabilities.rfb import RFBClient

        rfb = await RFBClient.connect(self.capability(), dial=self._connect)
        async with rfb:
            yield rfb

    # -- starting and ending it

    async def _open(self) -> None:
        """Start it, in a new sandbox unless that is the workspace's."""
        if self._workspace is None:
            sandbox = self._sandbox = Sandbox(self._spec())
            await sandbox.start()
            if sandbox.isolation == "none":
                logger.warning("desktop %r has no isolation, as asked for", self.name)
        self._session = await self._begin()
        if self._workspace is None:
            self._quota = Quota(self.sandbox, self._full, what="the desktop")
            self._quota.start()

    async def _begin(self) -> Session:
        sandbox, options = self.sandbox, self._options
        if sandbox.isolation != "bwrap" and self._sockets is None:
            # Loopback is the machine's own here, so it listens in a folder instead.
            parent = self._socket_parent()
            prefix = folders.prefix_of("desktop") if parent is None else "desktop-"
            self._sockets = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            os.chown(self._sockets, sandbox.uid, sandbox.gid)
        if sandbox.isolation == "uid":
            if self._apart is None:
                self._apart = Sandbox(_spec_of_server(sandbox))
            await self._apart.start()
        session = Session(
            self.name,
            sandbox,
            self._screen(sandbox.isolation),
            options.get("env") or {},
            options.get("start_timeout_s", START_S),
            self._apart,
        )
        await session.start(options.get("window_manager"), self._programs)
        return session

    async def _shut(self) -> None:
        """End everything."""
        self._cut()
        quota, self._quota = self._quota, None
        if quota is not None:
            await quota.aclose()
        session, self._session = self._session, None
        if session is not None:
            await session.end()
        for sandbox in (self._apart, self._sandbox):
            if sandbox is not None:
                await sandbox.stop()
        self._apart = self._sandbox = None
        sockets, self._sockets = self._sockets, None
        if sockets is not None:
            await asyncio.to_thread(files.remove_tree, sockets)

    async def _full(self, reason: str) -> None:
        """End it because it wrote too much; whoever connects next has it started again."""
        async with self._starting:
            logger.warning("desktop %r was ended: %s", self.name, reason)
            if self._session is not None:
                await self._session.end()
            if self._sandbox is not None:
                await self._sandbox.sweep()

    async def _connect(self) -> socket.socket:
        """Return a new connection to it, having started it again if it has ended.

        Raises:
            CapabilityFault: when it does not run and cannot be started.
        """
        if not self._is_open:
            raise CapabilityFault(f"desktop {self.name!r} is not started")
        session = self._session
        if session is None or session.has_ended:
            session = await self._again(session)
        try:
            return await session.dial()
        except CapabilityFault:
            # It may be dying just now.
            if not await session.ends_soon():
                raise
        return await (await self._again(session)).dial()

    async def _again(self, ended: Session | None) -> Session:
        """Start it again after it ended, once for all who ask."""
        async with self._starting:
            if self._session is not None and self._session is not ended:
                return self._session
            if ended is None or not self._is_open:
                raise CapabilityFault(f"desktop {self.name!r} does not run between episodes")
            logger.warning("desktop %r ended; it is started again", self.name)
            await ended.end()
            sandbox = self.sandbox
            if not sandbox.is_running:
                if self._workspace is not None:
                    raise CapabilityFault(f"the sandbox of desktop {self.name!r} has ended")
                await sandbox.start()
            elif self._workspace is None:
                await sandbox.sweep()
            session = self._session = await self._begin()
            return session

    def _cut(self) -> None:
        """End the connections that were given out."""
        given, self._given = list(self._given), weakref.WeakSet()
        for sock in given:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    async def _take_last(self) -> None:
        self.last_screenshot = None
        session = self._session
        if session is None or session.has_ended:
            return
        try:
            async with asyncio.timeout(_PICTURE_S), self.client() as rfb:
                self.last_screenshot = await rfb.screenshot()
        except (CapabilityFault, InputError, TimeoutError) as error:
            logger.warning("desktop %r: no last screenshot: %s", self.name, error)

    # -- what it is made of

    def _screen(self, isolation: Isolation) -> Screen:
        options = self._options
        display = options.get("display")
        if display is None and isolation == "uid":
            # Servers of this machine that look for a free number may take each other's.
            display = _FIRST_DISPLAY + secrets.randbelow(1000 - _FIRST_DISPLAY)
        return Screen(
            server=desktop_server.choose(options.get("server")),
            width=options.get("width", 1024),
            height=options.get("height", 768),
            depth=options.get("depth", 24),
            isolation=isolation,
            display=display,
            socket_folder=None if self._sockets is None else str(self._sockets),
        )

    def _spec(self) -> SandboxSpec:
        options = self._options
        return SandboxSpec(
            mounts=(Mount("ro", _FONTS, _FONTS, optional=True), *(options.get("mounts") or ())),
            network=options.get("network", False),
            allowed_hosts=options.get("allowed_hosts"),
            peers=tuple(options.get("peers") or ()),
            limits=options.get("limits") or Limits(),
            isolation=options.get("isolation"),
            private=tuple(self._private),
        )

    def _socket_parent(self) -> str | None:
        """Return a folder that the sandbox may write; the machine's own without isolation."""
        sandbox = self.sandbox
        return sandbox.home if sandbox.isolation == "uid" else None

    def _check_shared(self) -> None:
        theirs = [key for key in OF_THE_SANDBOX if self._options.get(key)]
        if theirs:
            raise InputError(
                f"desktop {self.name!r} runs in the workspace's sandbox: {theirs[0]!r} is not its "
                "own to choose",
                hint="give it to the workspace",
            )
        if self._options.get("keep_running"):
            raise InputError(
                f"desktop {self.name!r} cannot be kept running: its workspace stops everything "
                "before grading",
                hint="leave out keep_running, and grade the workspace's files",
            )


def _spec_of_server(sandbox: Sandbox) -> SandboxSpec:
    """Return what an X server needs that shares a uid with its programs, and they must not have.

    It makes its socket and its keyboard layout in /tmp, wherever it is told to make its files.
    """
    return SandboxSpec(
        mounts=(Mount("rw", "/tmp", "/tmp"),),
        isolation="uid",
        uid=sandbox.uid,
        gid=sandbox.gid,
        limits=sandbox.spec.limits,
    )
