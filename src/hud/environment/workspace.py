"""A workspace: a folder with a shell over SSH, in a sandbox of its own.

The sandbox is `hud.sandbox`, the SSH server `ssh_server`; this joins the two and says what an
episode's beginning and end mean for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from hud._core.errors import CapabilityFault, InputError
from hud._core.settings import get_settings
from hud.environment.daemon import Daemon
from hud.environment.exposed_port import exposed
from hud.environment.ssh_keys import Keys
from hud.environment.ssh_server import SSHServer
from hud.environment.workspace_folder import WorkspaceFolder
from hud.environment.workspace_options import RunOptions, WorkspaceOptions, check_run, spec_of
from hud.protocol.capability import Capability
from hud.sandbox import bwrap, files, roots
from hud.sandbox.confinement import free_port
from hud.sandbox.fresh import run_fresh
from hud.sandbox.link import SandboxGone
from hud.sandbox.process import Completed, Process
from hud.sandbox.sandbox import Sandbox
from hud.sandbox.spec import Isolation, Mount, Peer, SandboxSpec
from hud.sandbox.watch import Watch, watches_of

if TYPE_CHECKING:
    from hud.environment.filetracking import FileTracker

logger = logging.getLogger(__name__)

ProcessResult = Completed


class Workspace(WorkspaceFolder, Daemon):
    """A folder an agent works in, with a shell and SFTP over SSH.

    Commands and files share one sandbox: a server started in one command is reachable from the
    next, until the episode ends. Args: see `WorkspaceOptions`.

    Attributes:
        root: The folder on this machine; for a workspace without one, made at every start.
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        name: str = "shell",
        track_files: bool | None = False,
        **options: Unpack[WorkspaceOptions],
    ) -> None:
        Daemon.__init__(self, name)
        guest_path = options.get("guest_path", "/workspace")
        WorkspaceFolder.__init__(self, root, options.get("files"), guest_path)
        unknown = set(options) - set(WorkspaceOptions.__annotations__)
        if unknown:
            raise TypeError(f"Workspace has no option {sorted(unknown)[0]!r}")
        self._options = options
        self._sandbox: Sandbox | None = None
        self._server: SSHServer | None = None
        self._keys: Keys | None = None
        self._port = 0
        self._watches: list[Watch] = []
        self._forwards = contextlib.AsyncExitStack()
        self._served: list[int] = []
        self._reviving = asyncio.Lock()
        self._notice = ""
        self.user: str = options.get("user", "agent")
        tracks = get_settings().file_tracking_enabled if track_files is None else track_files
        self.tracker: FileTracker | None = self._make_tracker() if tracks else None
        self._described()  # says at once what is wrong with the options

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox its commands run in.

        Raises:
            CapabilityFault: before it is started.
        """
        if self._sandbox is None:
            raise CapabilityFault(f"workspace {self.name!r} is not started")
        return self._sandbox

    @property
    def isolation(self) -> Isolation:
        """What separates the agent from this machine."""
        return self.sandbox.isolation

    @property
    def guest_path(self) -> str:
        """Where commands and SFTP find the folder."""
        return self.sandbox.guest_path

    @property
    def env(self) -> dict[str, str]:
        """The variables given for every command."""
        return dict(self._options.get("env") or {})

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The further mounts given."""
        return self._described().mounts

    @property
    def network(self) -> bool:
        """Whether the public internet is reachable."""
        return self._described().network

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """The hosts that are reachable, where they were named."""
        hosts = self._options.get("allowed_hosts")
        return None if hosts is None else frozenset(hosts)

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The services outside that are reachable under a name."""
        return self._described().peers

    @property
    def local_aliases(self) -> frozenset[str]:
        """The further names of its loopback."""
        return frozenset(self._described().aliases)

    @property
    def ports(self) -> frozenset[int]:
        """The ports of its programs that this machine's loopback reaches."""
        return frozenset(self._described().ports)

    @property
    def owns_netns(self) -> bool:
        """Whether its loopback is its own, as it is with namespaces."""
        return self._options.get("isolation") in (None, "bwrap") and self.bwrap_available

    @property
    def bwrap_available(self) -> bool:
        """Whether bubblewrap works on this machine."""
        return bwrap.problem() is None

    @property
    def tracks_files(self) -> bool:
        """Whether changes of files are recorded."""
        return self.tracker is not None

    @property
    def untrusted_uid(self) -> int | None:
        sandbox = self._sandbox
        if sandbox is None or not sandbox.is_running or sandbox.isolation != "uid":
            return None
        return sandbox.uid

    @property
    def ssh_url(self) -> str:
        """Where the SSH server listens."""
        return f"ssh://{self._options.get('host', '127.0.0.1')}:{self._port}"

    @property
    def ssh_user(self) -> str:
        """Who logs in."""
        return self.user

    @property
    def ssh_host_pubkey(self) -> str:
        """The server's public key, in OpenSSH's format."""
        return self._made_keys().host_public

    @property
    def ssh_client_key_path(self) -> Path | None:
        """The client's private key as a file only its owner can read, where one was asked for."""
        return None if self._keys is None else self._keys.path

    async def start(self) -> None:
        if self._server is not None:
            return
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        server, self._server = self._server, None
        watches, self._watches = self._watches, []
        sandbox, self._sandbox = self._sandbox, None
        roots.forget(self)
        for watch in watches:
            await watch.aclose()
        await self._forwards.aclose()
        try:
            if server is not None:
                await server.stop()
        finally:
            if sandbox is not None:
                await sandbox.stop()
        keys, self._keys = self._keys, None
        if keys is not None:
            keys.remove()
        await self._remove_root()

    def capability(self, name: str | None = None) -> Capability:
        """Return the row clients see."""
        return Capability.ssh(
            name=name or self.name,
            url=self.ssh_url,
            user=self.user,
            host_pubkey=self.ssh_host_pubkey,
            client_key=self._made_keys().client_private,
            shell="bash",
            cwd=self.sandbox.cwd,
            isolation=self.isolation,
        )

    def file_tracking_capability(self, name: str = "filetracking") -> Capability:
        """Return the row that changes of files are followed by.

        Raises:
            InputError: when they are not tracked.
        """
        if self.tracker is None:
            raise InputError(f"workspace {self.name!r} does not track its files")
        row = self.tracker.capability()
        return Capability(name, row.protocol, row.url, dict(row.params))

    async def begin_episode(self) -> None:
        await self.discard_sandbox()
        if self._server is not None:
            self._server.is_admitting = True

    async def hand_over(self) -> None:
        await self._hand_over()

    async def end_episode(self) -> None:
        if self._server is not None:
            self._server.is_admitting = False
        await self.terminate_sessions()
        if self.tracker is not None:
            await self.tracker.end_episode()  # looks once more, now that nothing changes

    async def terminate_sessions(self) -> None:
        """Cut every SSH connection and kill everything that runs in the sandbox."""
        if self._server is not None:
            await self._server.disconnect()
        if self._sandbox is not None:
            killed = await self._sandbox.sweep()
            if killed:
                logger.info("workspace %r: %d processes were stopped", self.name, killed)

    async def discard_sandbox(self) -> None:
        """Replace the sandbox by a new one: nothing is left but the workspace's files."""
        if self._server is not None:
            await self._server.disconnect()
        sandbox = self._sandbox
        if sandbox is not None:
            await sandbox.stop()
            await self._start_sandbox(sandbox)

    async def sandbox_pid(self) -> int | None:
        """Return the pid, on this machine, of what holds the sandbox; None when it is not up."""
        sandbox = self._sandbox
        return sandbox.pid if sandbox is not None and sandbox.is_running else None

    async def run(
        self,
        command: Sequence[str],
        *,
        isolated: bool = False,
        mounts: Sequence[Mount] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        max_wait: float | None = None,
        input: bytes = b"",
        max_output_bytes: int = 1 << 20,
        **options: Unpack[RunOptions],
    ) -> ProcessResult:
        """Run a program over the workspace's files.

        Args:
            command: Program and arguments.
            isolated: Run it in a sandbox of its own, made for this command: none of the agent's
                processes or variables, no network. That is how to grade.
            mounts: Further mounts, for `isolated` alone.
            env: Further variables.
            cwd: Working directory inside; the workspace otherwise.
            max_wait: Seconds it may take; `exit_code` is None when they passed.
            input: Its standard input.
            max_output_bytes: How much of each stream is kept, the end of it.
            options: See `RunOptions`.

        Raises:
            CapabilityFault: when the sandbox cannot be made, or ended meanwhile.
            InputError: when a command cannot have what `options` ask for.
        """
        check_run(options, isolated=isolated or bool(mounts))
        if not isolated and not mounts:
            return await self.sandbox.run(
                command,
                input=input,
                env=env,
                cwd=cwd,
                timeout_s=max_wait,
                max_output_bytes=max_output_bytes,
            )
        return await run_fresh(
            self._described(),
            command,
            uid=self.sandbox.uid,
            mounts=tuple(mounts or ()),
            env={**self.env, **(env or {})} if options.get("inherit_workspace_env") else env,
            cwd=cwd,
            timeout_s=max_wait,
            input=input,
            max_output_bytes=max_output_bytes,
        )

    async def start_command(
        self,
        command: str | None,
        *,
        env: Mapping[str, str],
        fds: tuple[int, int, int] | None,
        terminal: tuple[int, int] | None,
        modes: Mapping[int, int],
    ) -> tuple[Process, str]:
        """Start a command for an SSH session, in a new sandbox if the last one is gone."""
        shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
        argv = [shell, "-l"] if command is None else [shell, "-c", command]
        read, out, err = fds or (None, None, None)
        return await self._in_sandbox(
            lambda sandbox: sandbox.spawn(
                argv, env=env, stdin=read, stdout=out, stderr=err, terminal=terminal, modes=modes
            )
        )

    async def start_sftp(self, read: int, write: int, client_version: str) -> Process:
        process, _ = await self._in_sandbox(
            lambda sandbox: sandbox.serve_files(read, write, client_version=client_version)
        )
        return process

    async def listen(self, where: int | str) -> socket.socket:
        """Return a socket that listens inside, for a client of the shell to serve.

        Args:
            where: A port of the sandbox's loopback (0 for any), or a path inside.

        Raises:
            CannotStart: when it cannot be made there.
            CapabilityFault: when the sandbox has no loopback that its programs may use.
        """
        sandbox, _ = await self._alive()
        if isinstance(where, str):
            return await sandbox.listen_at(where)
        if sandbox.isolation == "uid":
            raise CapabilityFault(f"workspace {self.name!r} has no loopback of its own")
        return await sandbox.listen(where)

    async def _in_sandbox(
        self, start: Callable[[Sandbox], Awaitable[Process]]
    ) -> tuple[Process, str]:
        """Start something for the agent, in a new sandbox if the last is gone or ends over it."""
        if self._server is None or not self._server.is_admitting:
            raise CapabilityFault(f"workspace {self.name!r} is closed: its episode has ended")
        sandbox, notice = await self._alive()
        try:
            process = await start(sandbox)
        except SandboxGone:
            sandbox, more = await self._alive()
            notice += more
            process = await start(sandbox)
        return process, notice + process.notice

    def command_ended(self) -> None:
        if self.tracker is not None:
            self.tracker.changed()
        for watch in self._watches:
            watch.look()

    def hang_up(self, processes: list[Process]) -> None:
        if self._sandbox is not None:
            self._sandbox.hang_up(processes)

    async def _start(self) -> None:
        await self._make_root()
        self._served = [free_port() for _ in self._served]
        sandbox = self._sandbox = Sandbox(self._described())
        await self._start_sandbox(sandbox)
        if self._options.get("require_isolation") and sandbox.isolation != "bwrap":
            raise CapabilityFault(
                f"workspace {self.name!r} requires namespaces, and has {sandbox.isolation!r}"
            )
        options = self._options
        keys = self._keys = Keys(
            options.get("host_key_path"), options.get("authorized_client_keys") or ()
        )
        folder = options.get("credentials_dir")
        if folder is not None:
            keys.write(Path(folder), self.name)
        server = self._server = SSHServer(self, keys.host, keys.allowed)
        host, port = options.get("host", "127.0.0.1"), options.get("port", 0)
        self._port = await server.start(host, port)
        self._watches = watches_of(sandbox, self._full)
        for watch in self._watches:
            watch.start()
        roots.remember(self, self.root, self._described(), sandbox)
        await self._forward_ports()

    async def _forward_ports(self) -> None:
        """Let this machine's loopback reach the ports of a sandbox with a loopback of its own.

        Raises:
            CapabilityFault: when one is taken here, or a name needs a loopback of its own.
        """
        if self.isolation != "bwrap":
            if self.local_aliases:
                raise CapabilityFault(
                    f"workspace {self.name!r} has local_aliases and isolation "
                    f"{self.isolation!r}, where names are the machine's",
                    hint="use localhost, or a machine that allows user namespaces",
                )
            return
        for port in sorted(self.ports):
            dial = functools.partial(self._dial_port, port)
            try:
                await self._forwards.enter_async_context(exposed(dial, port))
            except OSError as error:
                raise CapabilityFault(
                    f"port {port} of workspace {self.name!r} is taken on this machine: {error}",
                    hint="leave out ports, and reach it with workspace.sandbox.dial(port)",
                ) from error

    async def _dial_port(self, port: int) -> socket.socket:
        return await self.sandbox.dial(port)

    async def _start_sandbox(self, sandbox: Sandbox) -> None:
        await sandbox.start()
        if sandbox.isolation == "none":
            logger.warning("workspace %r has no isolation, as asked for", self.name)
        await self._hand_over()

    async def _hand_over(self) -> None:
        sandbox = self._sandbox
        if (
            sandbox is None
            or not sandbox.is_running
            or not self._options.get("hand_over_root", True)
        ):
            return
        if sandbox.uid != os.geteuid():
            await asyncio.to_thread(files.hand_over, self.root, sandbox.uid, sandbox.gid)

    async def _alive(self) -> tuple[Sandbox, str]:
        """Return the sandbox, a new one when it has ended, and what the agent should know of it."""
        notice, self._notice = self._notice, ""
        sandbox = self.sandbox
        if sandbox.is_running:
            return sandbox, notice
        async with self._reviving:
            if not sandbox.is_running:
                reason = await sandbox.ended_because()
                logger.warning("workspace %r: its sandbox ended: %s", self.name, reason)
                await sandbox.stop()
                await self._start_sandbox(sandbox)
                notice += f"hud: everything that ran here was ended ({reason})\n"
        return sandbox, notice

    async def _full(self, reason: str) -> None:
        """End what runs because the workspace grew beyond its limits."""
        logger.warning("workspace %r: %s", self.name, reason)
        self._notice = f"hud: everything that ran here was ended ({reason})\n"
        if self._sandbox is not None:
            await self._sandbox.sweep()

    def _described(self) -> SandboxSpec:
        """Return what its sandbox is to be."""
        root = self._given_root or self._own_root
        spec = spec_of(self._options, root, tuple(self._private))
        return replace(spec, served=tuple(self._served)) if self._served else spec

    def reserve_port(self) -> Callable[[], int]:
        """Have one more port that a daemon in the sandbox may listen on for this process.

        Returns what says which, once the workspace has been started; only by uid it matters.
        """
        index = len(self._served)
        self._served.append(0)
        return lambda: self._served[index]

    def _owner(self) -> tuple[int, int] | None:
        sandbox = self._sandbox
        running = sandbox is not None and sandbox.is_running
        return (sandbox.uid, sandbox.gid) if sandbox is not None and running else None

    def _made_keys(self) -> Keys:
        if self._keys is None:
            raise CapabilityFault(f"workspace {self.name!r} is not started")
        return self._keys

    def _make_tracker(self) -> Any:
        from hud.environment.filetracking import FileTracker

        name = "filetracking" if self.name == "shell" else f"filetracking-{self.name}"
        return FileTracker(lambda: self.root, guest_path=self._guest_path, name=name)
