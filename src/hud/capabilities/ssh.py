"""The client of `ssh`: commands and files in an environment's shell, over one SSH connection.

What a connection is made with is `ssh_connect`, how one command goes on its channel `ssh_exec`,
how files are read and written by commands `ssh_files`, who kills where signals do not `ssh_kill`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections import deque
from collections.abc import Generator, Mapping
from typing import Any, ClassVar, Self, cast

import asyncssh

from hud._core.errors import CapabilityFault, InputError, bounded
from hud.capabilities import ssh_files, ssh_kill
from hud.capabilities.base import CapabilityClient
from hud.capabilities.ssh_connect import disconnect, open_connection
from hud.capabilities.ssh_exec import CommandResult, Execution, command_line
from hud.capabilities.ssh_files import FileStat
from hud.protocol.capability import SSH, Capability

logger = logging.getLogger(__name__)

__all__ = ["CommandResult", "FileStat", "SSHClient"]

CONNECT_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 120.0
FILE_TIMEOUT_S = 300.0
MAX_OUTPUT_BYTES = 1 << 20
MAX_FILE_BYTES = 64 << 20
_TERM_GRACE_S = 1.0
_KILL_GRACE_S = 2.0
_KILL_MARKED_S = 5.0
_KILLED_S = 0.2
_LEFT_RUNNING_AT_MOST = 8


class SSHClient(CapabilityClient):
    """A shell with files: run commands, read and write files, whatever the daemon allows.

    The commands of one client share its connection and run side by side. A connection that was
    lost is made again by the next call; the call it was lost under fails with `CapabilityFault`,
    because nobody can tell whether it took effect.

    File methods pass paths on as they are and raise what a local call would: `FileNotFoundError`,
    `PermissionError`, `IsADirectoryError` or another `OSError`, and `TimeoutError`.
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
        with self._mapped(conn, command):
            process = await conn.create_process(command, **{"encoding": None, **kwargs})
        return cast("asyncssh.SSHClientProcess[bytes]", process)

    async def run(self, *args: Any, **kwargs: Any) -> asyncssh.SSHCompletedProcess:
        """Run a command as `asyncssh.SSHClientConnection.run` does; `execute` has limits.

        Raises:
            CapabilityFault: when the connection or the daemon fails.
            asyncssh.ProcessError: with `check=True`, when the command fails.
            asyncssh.TimeoutError: when `timeout` seconds pass.
        """
        conn = await self._connection()
        with self._mapped(conn, args[0] if args else None):
            done = await conn.run(*args, **kwargs)
        if done.returncode is None and conn.is_closed():
            raise self._lost("while a command ran")
        return done

    async def read_bytes(
        self, path: str, *, timeout_s: float | None = None, max_bytes: int = MAX_FILE_BYTES
    ) -> bytes:
        """Return a file's content.

        Args:
            timeout_s: None for five minutes, as for all file methods: a pipe never ends.
            max_bytes: A longer file is an `OSError`, told without reading all of it.
        """
        run = await self._on_file(
            path, ssh_files.read_command(path), timeout_s=timeout_s, limit=max_bytes
        )
        return run.stdout.content()

    async def read_text(
        self, path: str, *, timeout_s: float | None = None, max_bytes: int = MAX_FILE_BYTES
    ) -> str:
        """Return a file's content as UTF-8, what is no UTF-8 replaced."""
        content = await self.read_bytes(path, timeout_s=timeout_s, max_bytes=max_bytes)
        return content.decode("utf-8", "replace")

    async def write_bytes(
        self, path: str, content: bytes, *, timeout_s: float | None = None
    ) -> None:
        """Write a file, which is made or emptied first; its directory must exist."""
        await self._on_file(path, ssh_files.write_command(path), timeout_s=timeout_s, stdin=content)

    async def write_text(self, path: str, content: str, *, timeout_s: float | None = None) -> None:
        """Write a file as UTF-8."""
        encoded = content.encode("utf-8", "replace")
        await self.write_bytes(path, encoded, timeout_s=timeout_s)

    async def listdir(self, path: str, *, timeout_s: float | None = None) -> list[str]:
        """Return the names in a directory, sorted."""
        run = await self._on_file(path, ssh_files.list_command(path), timeout_s=timeout_s)
        return ssh_files.parse_listing(run.stdout.content())

    async def stat(self, path: str, *, timeout_s: float | None = None) -> FileStat:
        """Return size, type and time of a path, symbolic links followed."""
        run = await self._on_file(path, ssh_files.stat_command(path), timeout_s=timeout_s)
        try:
            return ssh_files.parse_stat(run.stdout.text())
        except ValueError as error:
            said = f"{run.stdout.text()} {run.stderr.text()}"
            raise ssh_files.file_error(path, said, run.exit_status) from error

    async def exists(self, path: str, *, timeout_s: float | None = None) -> bool:
        """Tell whether a path leads to something; a symbolic link to nothing does not."""
        run = await self._on_file(
            path, ssh_files.exists_command(path), timeout_s=timeout_s, expected=(0, 1)
        )
        return run.exit_status == 0

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

    async def _on_file(
        self,
        path: str,
        command: str,
        *,
        timeout_s: float | None,
        stdin: bytes = b"",
        limit: int = MAX_FILE_BYTES,
        expected: tuple[int, ...] = (0,),
    ) -> Execution:
        self._require_posix()
        run = Execution(stdin, limit, stop_at_limit=True)
        limit_s = FILE_TIMEOUT_S if timeout_s is None else timeout_s
        if await self._run_to_end(command_line(command, None, None), run, limit_s):
            raise TimeoutError(f"{path!r}: nothing within {limit_s:g} s")
        if run.stdout.is_truncated:
            raise OSError(errno.EFBIG, f"more than {limit} bytes", path)
        if run.exit_status not in expected:
            raise ssh_files.file_error(path, run.stderr.text(), run.exit_status)
        return run

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
        """Start the command; cancelled in the middle of it, the command is killed once it runs.

        asyncssh forgets a channel whose opening is cancelled, and the daemon would keep it.
        """
        # A command goes out as bytes in any case.
        create: Any = conn.create_session  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        task: asyncio.Task[Any] = asyncio.ensure_future(create(lambda: run, line, encoding=None))
        try:
            with self._mapped(conn, line):
                await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
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

    def _own(self, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        """Keep a task that goes on after its caller; it ends with the connection at the latest."""
        self._tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

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

    def _require_posix(self) -> None:
        shell = self.capability.params.get("shell")
        if shell in {"cmd", "powershell"}:
            raise InputError(
                f"capability {self.capability.name!r} has a {shell} shell, not a POSIX one",
                hint="use run() or create_process() there",
            )

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
        except (asyncssh.Error, OSError) as error:
            if isinstance(error, asyncssh.DisconnectError) or conn.is_closed():
                raise self._lost(f"while a command ran: {error}") from error
            raise


async def _over(run: Execution, within_s: float) -> None:
    """Wait for a command to be over, or for the time to pass."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await run.over.wait()


def _bytes(data: bytes | str | None) -> bytes:
    return data.encode("utf-8", "replace") if isinstance(data, str) else data or b""
