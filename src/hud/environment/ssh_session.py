"""One SSH session of a workspace: a command, a shell or SFTP, its streams joined to the channel.

Both directions wait for each other: a command that writes more than the client reads is held up
by its pipe, a client that sends more than the command reads by the channel's window.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import signal as signals
import socket
import struct
import termios
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import asyncssh

from hud._core.errors import Fault
from hud.sandbox.link import CannotStart
from hud.sandbox.process import Process

logger = logging.getLogger(__name__)

_READ_BYTES = 1 << 16
_PIPE_BYTES = 1 << 20
_MAX_INPUT_BYTES = 1 << 20
_MAX_VARIABLES = 64
_STDERR = 1  # RFC 4254 §5.2
_NOT_FOUND = 127
_NOT_STARTED = 126


class Host(Protocol):
    """What a session needs of its workspace."""

    user: str

    async def start_command(
        self,
        command: str | None,
        *,
        env: Mapping[str, str],
        fds: tuple[int, int, int] | None,
        terminal: tuple[int, int] | None,
        modes: Mapping[int, int],
    ) -> tuple[Process, str]:
        """Start a command, or a shell without one; return it with a notice for its stderr."""
        ...

    async def start_sftp(self, read: int, write: int, client_version: str) -> Process:
        """Start an SFTP server."""
        ...

    async def listen(self, where: int | str) -> socket.socket:
        """Return a socket that listens in the sandbox, on a port of its loopback or at a path."""
        ...

    def command_ended(self) -> None:
        """Note that files may have changed."""
        ...

    def hang_up(self, processes: list[Process]) -> None:
        """Kill what is left of these processes' Unix sessions."""
        ...


class Session(asyncssh.SSHServerSession[bytes]):
    """Run one session's process and pass its bytes. It ends itself with the channel."""

    def __init__(self, host: Host, started: list[Process], ended: Callable[[], None]) -> None:
        self._host = host
        self._started = started
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._command: str | None = None
        self._subsystem: str | None = None
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stdin = -1
        self._outputs: dict[int, int | None] = {}
        self._input = bytearray()
        self._input_ended = False
        self._writing_paused = False
        self._closed = False

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        self._subsystem = subsystem
        return subsystem == "sftp"

    def session_started(self) -> None:
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._settled)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._ended()
        if self._task is not None:
            self._task.cancel()
        if self._process is not None and self._process.exit_code is None:
            self._process.kill()
            self._host.hang_up([self._process])
        self._close_streams()

    def data_received(self, data: bytes, datatype: Any) -> None:
        if self._input_ended:
            return
        self._input += data
        if len(self._input) == len(data):
            self._write_input()
        if len(self._input) > _MAX_INPUT_BYTES and self._channel is not None:
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        self._input_ended = True
        self._write_input()
        return True

    def pause_writing(self) -> None:
        self._writing_paused = True
        for fd in self._outputs:
            self._loop.remove_reader(fd)

    def resume_writing(self) -> None:
        self._writing_paused = False
        for fd in self._outputs:
            self._loop.add_reader(fd, self._read_output, fd)

    def signal_received(self, signal: str) -> None:
        number = getattr(signals, f"SIG{signal}", None)
        if self._process is not None and isinstance(number, signals.Signals):
            self._process.kill(number)

    def break_received(self, msec: int) -> bool:
        self.signal_received("INT")
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._stdin != -1 and self._process is not None and self._process.terminal is not None:
            with contextlib.suppress(OSError):
                size = struct.pack("HHHH", height, width, pixwidth, pixheight)
                fcntl.ioctl(self._stdin, termios.TIOCSWINSZ, size)

    async def _run(self) -> None:
        channel = self._channel
        assert channel is not None
        try:
            notice = await self._start(channel)
        except CannotStart as error:
            self._refuse(str(error), _NOT_FOUND if error.errno == errno.ENOENT else _NOT_STARTED)
            return
        except (Fault, OSError) as error:
            self._refuse(str(error), _NOT_STARTED)
            return
        process = self._process
        assert process is not None
        if notice:
            channel.write_stderr(notice.encode())
        for fd in self._outputs:
            if not self._writing_paused:
                self._loop.add_reader(fd, self._read_output, fd)
        self._write_input()
        code = await process.wait()
        await self._drain()
        self._host.command_ended()
        self._finish(code)

    def _settled(self, task: asyncio.Task[None]) -> None:
        """See to it that a channel never stays open because its session failed."""
        if task.cancelled() or task.exception() is None:
            return
        logger.error("an SSH session failed", exc_info=task.exception())
        if self._channel is not None and not self._closed:
            self._channel.abort()

    async def _start(self, channel: asyncssh.SSHServerChannel[bytes]) -> str:
        """Start the process with its streams; return what the client should be told first."""
        if self._subsystem is not None or not channel.get_terminal_type():
            return await self._start_piped(channel)
        width, height, _, _ = channel.get_terminal_size()
        modes = cast("Mapping[int, int]", channel.get_terminal_modes() or {})
        process, notice = await self._host.start_command(
            self._command,
            env={"TERM": channel.get_terminal_type() or "dumb", **_variables(channel)},
            fds=None,
            terminal=(height or 24, width or 80),
            modes=modes,
        )
        self._own(process)
        if process.terminal is not None:
            os.set_blocking(process.terminal, False)
            self._stdin = process.terminal
            self._outputs[process.terminal] = None
        return notice

    async def _start_piped(self, channel: asyncssh.SSHServerChannel[bytes]) -> str:
        inside: list[int] = []
        try:
            read, self._stdin = os.pipe2(os.O_CLOEXEC)
            inside.append(read)
            os.set_blocking(self._stdin, False)
            for datatype in (None, _STDERR):
                out, write = os.pipe2(os.O_CLOEXEC)
                inside.append(write)
                os.set_blocking(out, False)
                self._outputs[out] = datatype
                if self._subsystem is not None:
                    with contextlib.suppress(OSError):
                        fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            if self._subsystem is not None:
                version = str(channel.get_extra_info("client_version") or "")
                self._own(await self._host.start_sftp(inside[0], inside[1], version))
                return ""
            process, notice = await self._host.start_command(
                self._command,
                env=_variables(channel),
                fds=(inside[0], inside[1], inside[2]),
                terminal=None,
                modes={},
            )
            self._own(process)
            return notice
        finally:
            for fd in inside:
                os.close(fd)

    def _own(self, process: Process) -> None:
        self._process = process
        self._started.append(process)
        if self._closed:
            process.kill()
            if process.terminal is not None:
                os.close(process.terminal)

    def _read_output(self, fd: int) -> None:
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a terminal says so when its last user is gone
        if not data:
            self._close_output(fd)
        else:
            self._send(data, self._outputs[fd])

    def _send(self, data: bytes, datatype: int | None) -> None:
        channel: Any = self._channel
        if channel is not None:
            channel.write(data, datatype)

    async def _drain(self) -> None:
        """Pass on what the process had written, without waiting for others that hold its pipes."""
        for fd in list(self._outputs):
            while fd in self._outputs and not self._closed:
                if self._writing_paused:
                    await asyncio.sleep(0.01)
                    continue
                try:
                    data = os.read(fd, _READ_BYTES)
                except OSError:
                    data = b""
                if not data:
                    self._close_output(fd)
                else:
                    self._send(data, self._outputs[fd])

    def _finish(self, code: int) -> None:
        channel = self._channel
        if channel is None or self._closed:
            return
        if code >= 0:
            channel.exit(code)
            return
        try:
            name = signals.Signals(-code).name.removeprefix("SIG")
        except ValueError:
            name = str(-code)
        channel.exit_with_signal(name, core_dumped=False, msg="")

    def _refuse(self, reason: str, code: int) -> None:
        self._close_streams()
        if self._channel is not None and not self._closed:
            self._channel.write_stderr(f"hud: {reason}\n".encode())
            self._channel.exit(code)

    def _write_input(self) -> None:
        if self._stdin == -1 or self._process is None:
            return
        while self._input:
            try:
                written = os.write(self._stdin, self._input[:_READ_BYTES])
            except BlockingIOError:
                self._loop.add_writer(self._stdin, self._write_input)
                return
            except OSError:
                self._input.clear()
                self._input_ended = True
                break
            del self._input[:written]
        self._loop.remove_writer(self._stdin)
        if self._channel is not None and not self._closed:
            self._channel.resume_reading()  # may deliver more, and the end, before it returns
        if self._input_ended and not self._input:
            self._close_input()

    def _close_input(self) -> None:
        fd, self._stdin = self._stdin, -1
        if fd == -1:
            return
        self._loop.remove_writer(fd)
        if self._process is not None and self._process.terminal == fd:
            with contextlib.suppress(OSError):
                os.write(fd, b"\x04")  # a terminal has no other end of input
            if fd in self._outputs:
                return
        os.close(fd)

    def _close_output(self, fd: int) -> None:
        if self._outputs.pop(fd, -1) == -1:
            return
        self._loop.remove_reader(fd)
        if fd == self._stdin:
            self._loop.remove_writer(fd)
            self._stdin = -1
        os.close(fd)

    def _close_streams(self) -> None:
        for fd in list(self._outputs):
            self._close_output(fd)
        fd, self._stdin = self._stdin, -1
        if fd != -1:
            self._loop.remove_writer(fd)
            os.close(fd)
        self._input.clear()


def _variables(channel: asyncssh.SSHServerChannel[bytes]) -> dict[str, str]:
    """Return what the client asked to have in the environment, a bounded number of it."""
    asked = channel.get_environment()
    return {str(name): str(asked[name]) for name in list(asked)[:_MAX_VARIABLES]}
