"""One run of a desktop in a sandbox: X server, bus, window manager and programs, until `end`.

Which episode it is for is `desktop`'s part.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import posixpath
import re
import shlex
import socket
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from hud._core.errors import CapabilityFault, InputError, bounded
from hud.environment import desktop_server
from hud.environment.desktop_options import Program
from hud.environment.desktop_output import Output
from hud.environment.desktop_server import Screen
from hud.environment.desktop_x11 import XConnection
from hud.sandbox.link import CannotStart, SandboxGone
from hud.sandbox.process import Process
from hud.sandbox.sandbox import Sandbox

logger = logging.getLogger(__name__)

_BACKGROUND = 0x2E3440
# A paste with shift+Insert is of the clipboard everywhere else.
_RESOURCES = (
    "XTerm*VT100.translations: #override Shift <Key>Insert: insert-selection(CLIPBOARD, PRIMARY)\n"
    "XTerm*utf8: 2\n"
)
_FOCUS_S = 8.0
_DYING_S = 2.0
_RESTARTS = 5
_RESTARTS_WITHIN_S = 60.0


class Session:
    """A desktop that runs. `end` it in every case.

    Attributes:
        sandbox: Where it runs.
        display: Number of its X display.
        spare_keys: How many keys have no meaning, and so can be given any character.
    """

    def __init__(
        self,
        name: str,
        sandbox: Sandbox,
        screen: Screen,
        env: Mapping[str, str],
        limit_s: float,
        server_sandbox: Sandbox | None = None,
    ) -> None:
        self.sandbox = sandbox
        self._server_sandbox = server_sandbox or sandbox
        self.display = 0
        self.spare_keys = 0
        self._name = name
        self._screen = screen
        self._env = {"NO_AT_BRIDGE": "1", "GTK_USE_PORTAL": "0", "GDK_BACKEND": "x11", **env}
        self._limit_s = limit_s
        self._processes: list[Process] = []
        self._server: Process | None = None
        self._log = Output()
        self._outputs: list[Output] = []
        self._manager: list[str] | None = None
        self._managing: Process | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the screen is gone."""
        server = self._server
        return server is None or server.exit_code is not None or not self.sandbox.is_running

    @property
    def said(self) -> str:
        """The last that the window manager and the programs wrote."""
        return self._log.text

    async def start(self, manager: Program | None, programs: Sequence[Program]) -> None:
        """Start everything, once, and return when it is there to be used.

        Raises:
            CapabilityFault: when a part of it does not come up, with what it said last.
            InputError: when the window manager is not installed.
        """
        try:
            self.sandbox.after_sweep.add(self._lose_server)
            self._outputs.append(await self._log.open())
            await self._start_server()
            await self._start_bus()
            connection = await XConnection.open(await self._dial_x())
            try:
                await self._furnish(connection, manager)
                for program in programs:
                    await self._begin_with(connection, command_line(program))
            finally:
                await connection.close()
        except BaseException:
            await self.end()
            raise
        if self._manager is not None and self._managing is not None:
            watching = self._keep_managed(self._manager, self._managing)
            self._watching = asyncio.create_task(watching)

    async def end(self) -> None:
        """Kill everything that was started; ending twice is no error."""
        self.sandbox.after_sweep.discard(self._lose_server)
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
        processes, self._processes = self._processes, []
        left = [process for process in processes if process.exit_code is None]
        for process in reversed(left):
            process.kill()
        if left:
            self.sandbox.hang_up(processes)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DYING_S):
                    await asyncio.gather(*(process.wait() for process in left))
        self._screen.remove_files(self.display)
        for output in self._outputs:
            output.close()
        self._outputs.clear()
        self._server = None

    def _lose_server(self) -> None:
        """End a server that runs elsewhere when everything else here was ended."""
        if self._server is not None:
            self._server.kill()

    async def ends_soon(self) -> bool:
        """Tell whether the screen is gone, having given it a moment."""
        server = self._server
        if server is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DYING_S):
                    await server.wait()
        return self.has_ended

    async def dial(self) -> socket.socket:
        """Return a new VNC connection.

        Raises:
            CapabilityFault: when nothing answers.
        """
        path = self._screen.socket_path
        if path is None:
            return await self.sandbox.dial(5900 + self.display)
        return await _dial_unix(path)

    # -- its parts, in the order they are started

    async def _start_server(self) -> None:
        screen = self._screen
        argv = screen.x_server()
        found = await self._start_until(
            argv, desktop_server.DISPLAY_LINE, sandbox=self._server_sandbox
        )
        self.display = int(found[1])
        self._env["DISPLAY"] = f":{self.display}"
        beside = screen.vnc_server(self.display)
        if beside is not None:
            await self._start_until(beside, desktop_server.LISTENING_LINE)

    async def _start_bus(self) -> None:
        """Give programs a bus of their own where there is one to be had; most can do without."""
        program = desktop_server.find("dbus-daemon")
        if program is None or "DBUS_SESSION_BUS_ADDRESS" in self._env:
            return
        folder = self._screen.socket_folder or self.sandbox.home
        address = f"unix:path={posixpath.join(folder, f'bus-{self.display}')}"
        argv = [program, "--session", "--nofork", "--nopidfile", "--nosyslog", "--print-address=1"]
        server = self._server
        try:
            found = await self._start_until(
                [*argv, f"--address={address}"], desktop_server.BUS_LINE
            )
        except CapabilityFault as error:
            logger.info("desktop %r has no bus: %s", self._name, error)
        else:
            self._env["DBUS_SESSION_BUS_ADDRESS"] = found[0].decode()
        self._server = server

    async def _furnish(self, connection: XConnection, manager: Program | None) -> None:
        self.spare_keys = await connection.furnish(_RESOURCES, _BACKGROUND)
        if manager == "none":
            return
        argv = self._manager = command_line("openbox" if manager is None else manager)
        if "/" not in argv[0] and desktop_server.find(argv[0]) is None:
            raise InputError(
                f"the window manager {argv[0]!r} is not installed here",
                hint="apt-get install openbox, or window_manager='none'",
            )
        process = self._managing = await self._spawn(argv, self._log)
        what = f"the window manager {argv[0]!r}"
        if not await self._first(connection.ready(), process, what):
            raise self._fault(f"{what} ended at once", self._log)

    async def _begin_with(self, connection: XConnection, argv: list[str]) -> None:
        """Start a program, and return once it has a window or has ended well."""
        managed = self._manager is not None
        known = await connection.windows(managed=managed)
        process = await self._spawn(argv, self._log)
        shown = connection.window_after(known, managed=managed)
        if await self._first(shown, process, f"the program {argv[0]!r}") and managed:
            # Keys that are pressed before it has the keyboard would be lost.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FOCUS_S):
                    await connection.focus_among(known)

    async def _keep_managed(self, argv: list[str], process: Process) -> None:
        """Start the window manager again whenever it ends."""
        began: list[float] = []
        while True:
            code = await process.wait()
            if self.has_ended:
                return
            now = time.monotonic()
            began = [then for then in began if now - then < _RESTARTS_WITHIN_S]
            if len(began) >= _RESTARTS:
                logger.warning("desktop %r: its window manager ended too often", self._name)
                return
            began.append(now)
            logger.warning(
                "desktop %r: its window manager ended (exit code %d); it is started again",
                self._name,
                code,
            )
            try:
                process = await self._spawn(argv, self._log)
            except CapabilityFault as error:
                logger.warning("desktop %r: %s", self._name, error)
                return

    # -- how they are started

    async def _start_until(
        self, argv: list[str], pattern: re.Pattern[bytes], *, sandbox: Sandbox | None = None
    ) -> re.Match[bytes]:
        """Start a server, and return what it wrote once it was there."""
        output = await Output().open()
        self._outputs.append(output)
        process = self._server = await self._spawn(argv, output, sandbox)
        output.no_more_programs()
        what = posixpath.basename(argv[0])
        try:
            async with asyncio.timeout(self._limit_s):
                found = await output.find(pattern)
        except TimeoutError:
            raise self._fault(f"{what} is not there after {self._limit_s:g} s", output) from None
        if found is None:
            code = await process.wait()
            raise self._fault(f"{what} ended at once (exit code {code})", output)
        return found

    async def _first(self, ready: Coroutine[Any, Any, None], process: Process, what: str) -> bool:
        """Wait until a program is ready, or has ended well (False).

        Raises:
            CapabilityFault: when it failed, or is not ready in time.
        """
        waiting = asyncio.create_task(ready)
        ended = asyncio.create_task(process.wait())
        try:
            async with asyncio.timeout(self._limit_s):
                await asyncio.wait([waiting, ended], return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
                return True
            code = ended.result()
        except TimeoutError:
            raise self._fault(
                f"{what} shows nothing after {self._limit_s:g} s", self._log
            ) from None
        finally:
            for task in (waiting, ended):
                task.cancel()
            await asyncio.wait([waiting, ended])
        if code != 0:
            raise self._fault(f"{what} ended at once (exit code {code})", self._log)
        return False

    async def _spawn(
        self, argv: list[str], output: Output, sandbox: Sandbox | None = None
    ) -> Process:
        try:
            process = await (sandbox or self.sandbox).spawn(
                argv, env=self._env, stdout=output.fd, stderr=output.fd
            )
        except (CannotStart, SandboxGone) as error:
            raise CapabilityFault(
                f"desktop {self._name!r}: {argv[0]!r} cannot be started: {error}"
            ) from error
        self._processes.append(process)
        return process

    def _fault(self, what: str, output: Output) -> CapabilityFault:
        said = output.last_lines()
        return CapabilityFault(
            f"desktop {self._name!r}: {what}"
            + (f"; it said last: {bounded(said, 1200)}" if said else "")
        )

    async def _dial_x(self) -> socket.socket:
        path = self._screen.x_socket(self.display)
        if path is None:
            return await self.sandbox.dial(6000 + self.display)
        return await _dial_unix(path)


def command_line(program: Program) -> list[str]:
    """Return program and arguments.

    Raises:
        InputError: when there is none.
    """
    try:
        argv = shlex.split(program) if isinstance(program, str) else [*program]
    except ValueError as error:
        raise InputError(f"cannot read the command line {bounded(program)!r}: {error}") from error
    if not argv:
        raise InputError(
            "a desktop's program is empty", hint="such as 'xterm' or ['xterm', '-e', …]"
        )
    return argv


async def _dial_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, path)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise CapabilityFault(f"nothing answers on the desktop's socket: {error}") from error
        raise
    return sock
