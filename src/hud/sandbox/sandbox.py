"""A sandbox: start it, run programs in it, connect into it, clear it, end it.

What it looks like inside is `spec`; how the wall is made is `launch`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hud._core.errors import CapabilityFault
from hud.sandbox import bwrap, confinement, folders, launch
from hud.sandbox.identity import own, take
from hud.sandbox.link import CannotStart, Link, SandboxGone
from hud.sandbox.outside import PROXY_PORT, Outside
from hud.sandbox.process import Completed, Process, run
from hud.sandbox.spec import HOME, Isolation, SandboxSpec, base_environment

logger = logging.getLogger(__name__)

_CONNECT_S = 10.0
# So that a request stays far below the largest packet.
_HANG_UP_AT_ONCE = 4096


class Sandbox:
    """One sandbox. All its processes see the same files, the same loopback and each other.

    Attributes:
        spec: What it was made from.
        after_sweep: Called whenever everything inside was killed.
    """

    def __init__(self, spec: SandboxSpec) -> None:
        self.spec = spec
        self._launched: launch.Launched | None = None
        self._outside: Outside | None = None
        self._isolation: Isolation | None = None
        self._private_home: Path | None = None
        self._env: dict[str, str] = {}
        self.after_sweep: set[Callable[[], None]] = set()
        self.proxy_port = PROXY_PORT

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended, by itself or otherwise."""
        return self._launched is not None and self._launched.link.is_open

    @property
    def isolation(self) -> Isolation:
        """What separates it from the host.

        Raises:
            CapabilityFault: before it was started.
        """
        if self._isolation is None:
            raise CapabilityFault("the sandbox was not started")
        return self._isolation

    @property
    def guest_path(self) -> str:
        """Where the workspace is for the processes inside."""
        if self.spec.root is None:
            return self.home
        return self.spec.guest_path if self.isolation == "bwrap" else str(self.spec.root)

    @property
    def home(self) -> str:
        """The home folder inside, gone with the sandbox."""
        return HOME if self._private_home is None else str(self._private_home)

    @property
    def cwd(self) -> str:
        """Where processes start unless told otherwise."""
        return self.spec.cwd or self.guest_path

    @property
    def uid(self) -> int:
        """Uid on the host of everything inside."""
        return self._running().identity.uid

    @property
    def gid(self) -> int:
        """Gid on the host of everything inside."""
        return self._running().identity.gid

    @property
    def pid(self) -> int:
        """Pid, on the host, of the process that holds the sandbox."""
        return self._running().process.pid

    @property
    def peer_host(self) -> str:
        """The address that peers have inside; of its own also where loopback is the machine's."""
        if self.isolation != "uid":
            return "127.0.0.1"
        return f"127.98.{self.uid >> 8 & 255}.{self.uid & 255}"

    @property
    def enforced(self) -> frozenset[str]:
        """Which limits hold for the sandbox as a whole: of "memory", "cpus" and "processes"."""
        cgroup = self._running().cgroup
        return frozenset() if cgroup is None else frozenset(cgroup.applied)

    @property
    def env(self) -> dict[str, str]:
        """The variables every process gets."""
        return dict(self._env)

    async def start(self) -> None:
        """Make it and return once programs can be started in it.

        Raises:
            CapabilityFault: when it cannot be made here, with the reason.
        """
        if self.is_running:
            return
        await self.stop()
        mode = launch.choose(self.spec)
        if self.spec.root is not None:
            bwrap.check_root(self.spec.root, self.spec.guest_path)
        identity = own() if mode == "none" else take(self.spec.uid, self.spec.gid)
        try:
            self._isolation = mode
            settings = self._settings(mode, identity.uid, identity.gid)
        except BaseException:
            identity.release()
            raise
        self._launched = await launch.start(self.spec, mode, identity, settings)
        try:
            self._outside = await Outside.open(self)
            self._env = {**base_environment(self.spec, self.home), **self._outside.env}
            self._env.update(self.spec.env)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Kill everything inside and forget the sandbox; stopping twice is no error."""
        outside, self._outside = self._outside, None
        if outside is not None:
            await outside.close()
        launched, self._launched = self._launched, None
        if launched is not None:
            await asyncio.shield(launched.end())
        home, self._private_home = self._private_home, None
        if home is not None:
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        terminal: tuple[int, int] | None = None,
        modes: Mapping[int, int] | None = None,
    ) -> Process:
        """Start a program inside, in a Unix session of its own.

        Args:
            argv: Program and arguments; a name without a slash is looked up in PATH.
            env: Variables over the sandbox's own.
            cwd: Working directory inside. None is the sandbox's own, or the root folder when the
                agent made that one unusable, which stderr then says.
            stdin, stdout, stderr: Descriptors, the caller's to close; None is the null device.
            terminal: Rows and columns of a new terminal to run it on, whose other side is
                `Process.terminal`; the three descriptors are then ignored.
            modes: Terminal modes by opcode (RFC 4254 §8).

        Raises:
            CannotStart: when the program is missing or a limit is reached.
            SandboxGone: when the sandbox has ended.
        """
        body: dict[str, Any] = {
            "argv": list(argv),
            "env": {**self._env, **(env or {})},
            "cwd": cwd or self.cwd,
            "or_root": cwd is None,
        }
        if terminal is not None:
            body["pty"] = list(terminal)
            body["modes"] = [[code, value] for code, value in (modes or {}).items()]
            return await self._spawn(body, [])
        return await self._spawn_with(body, [stdin, stdout, stderr])

    async def serve_files(self, read: int, write: int, *, client_version: str = "") -> Process:
        """Start an SFTP server inside, on these descriptors (the caller's to close).

        Args:
            client_version: How the client names its software, by which the arguments of a link
                are told apart.
        """
        body: dict[str, Any] = {"builtin": "sftp", "argv": ["sftp"], "env": {}, "cwd": self.cwd}
        body["or_root"] = True
        return await self._spawn_with({**body, "client": client_version[:255]}, [read, write, None])

    async def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout_s: float | None = None,
        max_output_bytes: int = 1 << 20,
    ) -> Completed:
        """Run a program to its end and return its output, the end of it if there is too much.

        Raises:
            CannotStart: when the program is missing or a limit is reached.
            SandboxGone: when the sandbox has ended.
        """
        return await run(self, argv, input, env, cwd, timeout_s, max_output_bytes)

    async def dial(
        self, port: int, host: str = "127.0.0.1", *, timeout_s: float = _CONNECT_S
    ) -> socket.socket:
        """Connect to a port on the sandbox's own loopback; the socket is the caller's.

        Raises:
            CapabilityFault: when nothing listens there.
        """
        loop = asyncio.get_running_loop()
        reply = await self._link().request("dial", host=host, port=port)
        stream = socket.socket(fileno=reply.fds[0])
        try:
            stream.setblocking(False)
            connected: asyncio.Future[None] = loop.create_future()
            loop.add_writer(stream, _set, connected)
            try:
                async with asyncio.timeout(timeout_s):
                    await connected
            finally:
                loop.remove_writer(stream)
            number = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, os.strerror(number))
            return stream
        except BaseException as error:
            stream.close()
            if isinstance(error, OSError | TimeoutError):
                raise CapabilityFault(
                    f"nothing answers on port {port} in the sandbox: {error or 'timed out'}"
                ) from error
            raise

    async def listen(self, port: int = 0, host: str = "127.0.0.1") -> socket.socket:
        """Return a socket that listens on the sandbox's own loopback, for this process to accept.

        Raises:
            CannotStart: when the port is taken.
        """
        reply = await self._link().request("listen", host=host, port=port)
        return socket.socket(fileno=reply.fds[0])

    async def listen_at(self, path: str) -> socket.socket:
        """Return a Unix socket that listens at a path inside, for this process to accept.

        It is made with the rights of the processes inside, and where they may write.

        Args:
            path: Absolute, or seen from where processes start.

        Raises:
            CannotStart: when there is something at that path, or it cannot be made there.
        """
        if not path or "\0" in path:
            # Those would be names that no folder holds, for everybody on this machine to find.
            raise CannotStart(errno.EINVAL, "no path of a file")
        reply = await self._link().request("listen", path=path, cwd=self.cwd, or_root=True)
        return socket.socket(fileno=reply.fds[0])

    async def sweep(self) -> int:
        """Kill every process inside and wait until it is gone; return how many there were.

        A sandbox that does not manage it is ended as a whole.
        """
        if not self.is_running:
            return 0
        try:
            reply = await self._link().request("sweep")
        except (SandboxGone, CannotStart) as error:
            logger.warning("a sandbox could not be swept and was ended: %s", error)
            await self.stop()
            return 0
        finally:
            for told in list(self.after_sweep):
                told()
        return int(reply.body.get("killed") or 0)

    async def ended_because(self) -> str:
        """Say why the sandbox has ended, as far as it can be known."""
        launched = self._launched
        cgroup = None if launched is None else launched.cgroup
        if cgroup is not None and cgroup.oom_kills():
            return f"it used more than its {self.spec.limits.memory_mb} MB of memory"
        return "its supervisor was killed"

    def hang_up(self, processes: Sequence[Process]) -> None:
        """Kill what is left of the Unix sessions that these processes began."""
        numbers = [process.number for process in processes]
        for first in range(0, len(numbers), _HANG_UP_AT_ONCE):
            if self.is_running:
                self._link().tell("hangup", targets=numbers[first : first + _HANG_UP_AT_ONCE])

    def _running(self) -> launch.Launched:
        if self._launched is None:
            raise SandboxGone("the sandbox is not running")
        return self._launched

    def _link(self) -> Link:
        return self._running().link

    async def _spawn_with(self, body: dict[str, Any], fds: list[int | None]) -> Process:
        null = -1
        try:
            if None in fds:
                null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            return await self._spawn(body, [null if fd is None else fd for fd in fds])
        finally:
            if null != -1:
                os.close(null)

    async def _spawn(self, body: dict[str, Any], fds: list[int]) -> Process:
        link, notice = self._link(), ""
        if self._is_crowded():
            # It could just be started, and would find no room for what it starts itself.
            notice = await self._make_way("no room for further processes")
            link = self._link()
        try:
            number, reply = await link.spawn(body, fds)
        except CannotStart as error:
            if not error.is_exhaustion:
                raise
            # The agent's own processes are in the way. They go, so that the next command works.
            notice = await self._make_way(error)
            link = self._link()
            try:
                number, reply = await link.spawn(body, fds)
            except CannotStart as again:
                if again.is_exhaustion:
                    # Not theirs, then: the supervisor itself cannot go on.
                    await self.stop()
                    raise SandboxGone(f"the sandbox has ended: {again}") from again
                raise
        terminal = reply.fds[0] if reply.fds else None
        process = Process(link, number, int(reply.body["pid"]), terminal)
        process.notice = notice
        return process

    def _is_crowded(self) -> bool:
        cgroup, limit = self._running().cgroup, self.spec.limits.processes
        if cgroup is None or limit is None:
            return False
        return not cgroup.has_room(launch.room_of(limit))

    async def _make_way(self, reason: object) -> str:
        """End everything inside, and return what the next command is told of it."""
        killed = await self.sweep()
        logger.warning("%s: %d processes of the sandbox were ended", reason, killed)
        return f"hud: {killed} processes that ran here were ended ({reason})\n"

    def _settings(self, mode: Isolation, uid: int, gid: int) -> dict[str, Any]:
        limits = self._limits(mode)
        settings: dict[str, Any] = {"limits": limits, "umask": 0o022}
        if mode == "none":
            self._proxy_port()
        if mode == "uid":
            home = folders.make("home")
            self._private_home = home
            os.chown(home, uid, gid)
            settings["confine"] = confinement.rules(self.spec, uid, gid, home, self._proxy_port())
        return settings

    def _proxy_port(self) -> int:
        """Decide where the egress proxy listens: a port of its own where loopback is shared."""
        self.proxy_port = PROXY_PORT if self._isolation == "bwrap" else confinement.free_port()
        return self.proxy_port

    def _limits(self, mode: Isolation) -> dict[str, int]:
        limits = self.spec.limits
        found: dict[str, int] = {"RLIMIT_CORE": 0}
        if limits.file_mb is not None:
            found["RLIMIT_FSIZE"] = limits.file_mb << 20
        if limits.open_files is not None:
            found["RLIMIT_NOFILE"] = limits.open_files
        if limits.memory_mb is not None:
            found["RLIMIT_DATA"] = limits.memory_mb << 20
        # Counted per uid within a user namespace; elsewhere the sandbox needs a uid of its own.
        if limits.processes is not None and mode != "none":
            found["RLIMIT_NPROC"] = limits.processes
        return {name: value for name, value in found.items() if hasattr(resource, name)}


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
