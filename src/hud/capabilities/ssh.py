"""The client of `ssh`: commands and files in an environment's shell, over one SSH connection.

What a connection is made with is `ssh_connect`, how one command goes on its channel `ssh_exec`,
how files are read and written by commands `ssh_files`, who kills where signals do not `ssh_kill`,
what is served inside `ssh_serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Generator, Mapping
from typing import Any, ClassVar, Self

import asyncssh

from hud._core.errors import CapabilityFault, bounded
from hud.capabilities import ssh_kill
from hud.capabilities.ssh_connect import disconnect, open_connection
from hud.capabilities.ssh_exec import CommandResult, Execution, command_line
from hud.capabilities.ssh_files import FileStat, RemoteFiles
from hud.capabilities.ssh_serve import ServedAt, Target, serving
from hud.protocol.capability import SSH, Capability

logger = logging.getLogger(__name__)

__all__ = ["CommandResult", "FileStat", "SSHClient"]

CONNECT_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 120.0
MAX_OUTPUT_BYTES = 1 << 20
_TERM_GRACE_S = 1.0
_KILL_GRACE_S = 2.0
_KILL_MARKED_S = 5.0
_KILLED_S = 0.2
_LEFT_RUNNING_AT_MOST = 8


class SSHClient(RemoteFiles):
    """A shell with files: run commands, read and write files, whatever the daemon allows.

    The commands of one client share its connection and run side by side. A connection that was
    lost is made again by the next call; the call it was lost under fails with `CapabilityFault`,
    because nobody can tell whether it took effect.

    File methods raise what a local call would.
    """

    protocol: ClassVar[str] = SSH

    def __init__(self, capability: Capability, conn: asyncssh.SSHClientConnection) -> None:
        self.capability = capability
        self._conn = conn
        self._connect_timeout_s = CONNECT_TIMEOUT_S
        self._closed = False
        self._connecting = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._left_running: deque[Execution] = deque()

    @classmethod
    async def connect(
        cls, cap: Capability, *, connect_timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Self:
        """Connect to the daemon at `cap.url` with the row's user and key.

        Args:
            connect_timeout_s: For the connection and the login together; again when the client
                reconnects.

        Raises:
            CapabilityFault: when it cannot be reached, does not answer in time, shows another host
                key than the row's, or refuses the login.
            InputError: when the row has no address or no usable keys.
        """
        client = cls(cap, await open_connection(cap, connect_timeout_s))
        client._connect_timeout_s = connect_timeout_s
        return client

    @property
    def conn(self) -> asyncssh.SSHClientConnection:
        """The connection itself, for port forwarding, SFTP, terminals and all else."""
        return self._conn

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def execute(
        self,
        command: str,
        *,
        timeout_s: float | None = COMMAND_TIMEOUT_S,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
    ) -> CommandResult:
        """Run one command in the daemon's shell and return how it ended.

        Whatever the command does is a result: a failure, a signal, a session it brought down, a
        time limit. When its time is up it gets SIGTERM and then SIGKILL, with its process group;
        cancelling this call kills it at once. What it leaves running in the background goes on
        (the output of the last few of these is read and dropped), until the client closes.

        Args:
            timeout_s: From now to its exit; None for no limit.
            max_output_bytes: How much of stdout, and of stderr, is kept. The rest is read and
                counted, so output without end lasts until the time is up.
            cwd: Directory to begin in; otherwise where the daemon's sessions begin.
            env: Variables to set, by way of the command line.
            stdin: What it reads; nothing by default.

        Raises:
            CapabilityFault: when the connection or the daemon fails.
            InputError: when the command cannot be given to a shell, such as one of megabytes.
        """
        if cwd or env:
            self._require_posix()
        line = command_line(command, cwd, env)
        run = Execution(_bytes(stdin), max_output_bytes)
        timed_out = await self._run_to_end(line, run, timeout_s)
        return run.result(timed_out=timed_out)

    async def create_process(self, command: str, **kwargs: Any) -> asyncssh.SSHClientProcess[bytes]:
        """Start a command and return it with its streams, as bytes; the caller ends it.

        Args:
            kwargs: As for `asyncssh.SSHClientConnection.create_process`.

        Raises:
            CapabilityFault: when the connection or the daemon fails.
        """
        conn = await self._connection()
        opening = conn.create_process(command, **{"encoding": None, **kwargs})
        return await self._opened(conn, opening, command)

    async def run(
        self, *args: Any, check: bool = False, timeout: float | None = None, **kwargs: Any
    ) -> asyncssh.SSHCompletedProcess:
        """Run a command as `asyncssh.SSHClientConnection.run` does; `execute` has limits.

        Raises:
            CapabilityFault: when the connection or the daemon fails.
            asyncssh.ProcessError: with `check=True`, when the command fails.
            asyncssh.TimeoutError: when `timeout` seconds pass; the command is killed.
        """
        conn = await self._connection()
        what = args[0] if args else None
        process = await self._opened(conn, conn.create_process(*args, **kwargs), what)
        try:
            with self._mapped(conn, what):
                done = await process.wait(check, timeout)
        except BaseException:
            _drop(process)
            raise
        if done.returncode is None and conn.is_closed():
            raise self._lost("while a command ran")
        return done

    @contextlib.asynccontextmanager
    async def serve(
        self, target: Target, *, port: int = 0, path: str | None = None
    ) -> AsyncGenerator[ServedAt]:
        """Serve something of this machine inside, while the block is open; yield where.

        Connections made there come over this client's connection (SSH's remote forwarding), so
        nothing listens on this machine. They end with the block, and with the connection.

        Args:
            target: Host and port to pass connections on to, or `async def handler(reader, writer)`.
            port: On the daemon's loopback; 0 takes a free one.
            path: Of a Unix socket to make instead. It is removed afterwards.

        Raises:
            CapabilityFault: when the daemon refuses, or the connection is lost.
        """
        conn = await self._connection()
        async with serving(conn, self.capability.name, target, port=port, path=path) as at:
            try:
                yield at
            finally:
                if path is not None:
                    await self._remove_socket(path)

    async def close(self) -> None:
        """Close the connection, which ends what runs on it; closing twice is no error."""
        self._closed = True
        self._left_running.clear()
        await disconnect(self._conn)
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _connection(self) -> asyncssh.SSHClientConnection:
        """Return the connection, made again when it was lost."""
        if not self._closed and self._conn.is_closed():
            async with self._connecting:
                if not self._closed and self._conn.is_closed():
                    conn = await open_connection(self.capability, self._connect_timeout_s)
                    self._left_running.clear()
                    self._conn = conn
                    if self._closed:
                        await disconnect(conn)
        if self._closed:
            raise CapabilityFault(f"capability {self.capability.name!r}: its client is closed")
        return self._conn

    async def _run_to_end(self, line: bytes, run: Execution, timeout_s: float | None) -> bool:
        """Run a command until it is over and tell whether its time was up before."""
        limit = asyncio.timeout(timeout_s)
        mark: str | None = None
        try:
            async with limit:
                conn = await self._connection()
                if not ssh_kill.takes_signals(conn):
                    mark = ssh_kill.new_mark()
                    line = ssh_kill.marked(line, mark)
                await self._open(conn, line, run)
                await run.over.wait()
                if run.is_gone and not run.has_exited and conn.is_closed():
                    raise self._lost("while a command ran")
        except TimeoutError:
            if not limit.expired():
                raise
            await self._end(run, mark)
        except BaseException:
            await self._kill(run, mark)
            raise
        await self._let_go(run, mark)
        return limit.expired()

    async def _open(self, conn: asyncssh.SSHClientConnection, line: bytes, run: Execution) -> None:
        # A command goes out as bytes in any case.
        create: Any = conn.create_session  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        await self._opened(conn, create(lambda: run, line, encoding=None), line)

    async def _opened(
        self, conn: asyncssh.SSHClientConnection, opening: Awaitable[Any], what: object
    ) -> Any:
        """Wait for a channel; when that is cancelled, the channel is closed once it is open.

        asyncssh forgets a channel whose opening is cancelled, and the daemon would keep it.
        """
        task = asyncio.ensure_future(opening)
        try:
            with self._mapped(conn, what):
                return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._own(task)
            raise

    async def _end(self, run: Execution, mark: str | None) -> None:
        """End a command whose time is up: ask it, then force it."""
        try:
            for name, grace_s in (("TERM", _TERM_GRACE_S), ("KILL", _KILL_GRACE_S)):
                if mark is not None or not run.is_open:
                    break
                run.signal(name)
                await _over(run, grace_s)
        finally:
            await self._kill(run, mark)

    async def _kill(self, run: Execution, mark: str | None) -> None:
        """Kill a command and close its channel; by other commands where signals do nothing."""
        if mark is None or not run.is_open or run.has_exited:
            run.kill()
            return
        # A task of its own, so that a second cancellation of the caller does not stop it.
        await asyncio.wait([self._own(asyncio.ensure_future(self._kill_marked(run, mark)))])

    async def _kill_marked(self, run: Execution, mark: str) -> None:
        killer = Execution(b"", MAX_OUTPUT_BYTES)
        try:
            async with asyncio.timeout(_KILL_MARKED_S):
                # The first may come too early, when the daemon has just begun to start it.
                while run.is_open and not run.has_exited:
                    killer = Execution(b"", MAX_OUTPUT_BYTES)
                    await self._open(self._conn, ssh_kill.kill_command(mark), killer)
                    await killer.over.wait()
                    await _over(run, _KILLED_S)
        except (CapabilityFault, asyncssh.Error, TimeoutError) as error:
            logger.warning("capability %r: a command lives on: %s", self.capability.name, error)
        finally:
            killer.kill()
            run.kill()

    async def _remove_socket(self, path: str) -> None:
        if not self._closed and not self._conn.is_closed():
            with contextlib.suppress(CapabilityFault):
                await self.execute(f"rm -f -- {shlex.quote(path)}", timeout_s=_KILL_MARKED_S)

    def _own(self, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        """Keep a task that goes on after its caller; it ends with the connection at the latest."""
        self._tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is None:
            _drop(task.result())

    async def _let_go(self, run: Execution, mark: str | None) -> None:
        """Keep what is left running on its open channel; close every other channel."""
        if not run.has_exited:
            await self._kill(run, mark)
        elif not run.is_left_running:
            run.close()
        else:
            self._left_running.append(run)
            if len(self._left_running) > _LEFT_RUNNING_AT_MOST:
                self._left_running.popleft().close()

    def _lost(self, when: str) -> CapabilityFault:
        return CapabilityFault(
            f"capability {self.capability.name!r}: the SSH connection was lost {when}"
        )

    @contextlib.contextmanager
    def _mapped(self, conn: asyncssh.SSHClientConnection, command: object) -> Generator[None]:
        """Raise the failures of the connection and of the daemon as `CapabilityFault`."""
        try:
            yield
        except asyncssh.ProcessError:
            raise
        except asyncssh.ChannelOpenError as error:
            if conn.is_closed():
                raise self._lost("before a command began") from error
            raise CapabilityFault(
                f"capability {self.capability.name!r}: the daemon refused to run "
                f"{bounded(command)}: {error.reason}",
                hint="an OpenSSH daemon allows MaxSessions commands at once on one connection",
            ) from error
        except (asyncssh.Error, OSError, AttributeError) as error:
            # The last where asyncssh trips over a channel that went while it was being opened.
            if isinstance(error, asyncssh.DisconnectError) or conn.is_closed():
                raise self._lost(f"while a command ran: {error}") from error
            raise


def _drop(process: Any) -> None:
    """Kill a process nobody waits for any more; what is no process is left alone."""
    if isinstance(process, asyncssh.SSHClientProcess):
        with contextlib.suppress(OSError):
            process.kill()
        process.close()


async def _over(run: Execution, within_s: float) -> None:
    """Wait for a command to be over, or for the time to pass."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await run.over.wait()


def _bytes(data: bytes | str | None) -> bytes:
    return data.encode("utf-8", "replace") if isinstance(data, str) else data or b""
