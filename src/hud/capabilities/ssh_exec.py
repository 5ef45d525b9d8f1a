"""One command over SSH: its input fed, its output kept within bounds, how it ended told apart.

Opening the channel and deciding when to give up is `ssh`; here are the channel's events only.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import errno
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncssh

from hud._core.errors import InputError

MAX_COMMAND_BYTES = 126_976
"""Linux takes at most 128 KiB as one argument, and a daemon may wrap the command."""

_DRAIN_S = 0.5
_PIECE_BYTES = 1 << 16
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended, and what it printed within the limit.

    Output that is too long is its beginning and its end, with a line between them that says how
    many bytes are left out.

    Attributes:
        exit_status: What it exited with; None when a signal or the time limit ended it, or when
            its session ended without a word, as when the command killed its own shell's parent.
        exit_signal: The signal that ended it, as `KILL`, or None.
        stdout: Decoded as UTF-8, what is no UTF-8 replaced.
        stderr: The same of standard error.
        stdout_bytes: How much it printed, kept or not.
        stderr_bytes: The same of standard error.
        timed_out: Whether it was killed because its time was up.
        left_running: Whether something it started lives on with its output still open.
    """

    exit_status: int | None
    exit_signal: str | None
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    stdout_bytes: int
    stderr_bytes: int
    timed_out: bool
    left_running: bool

    @property
    def ok(self) -> bool:
        """Whether it exited with status 0."""
        return self.exit_status == 0


def command_line(command: str, cwd: str | None, env: Mapping[str, str] | None) -> bytes:
    """Return what the daemon's POSIX shell is to run.

    File names that are no UTF-8 pass unharmed when they are spelled with surrogate escapes.

    Raises:
        InputError: when a shell could not be given it as it is.
    """
    lines: list[str] = []
    if cwd:
        lines.append(f"cd {operand(cwd)} || exit")
    for name, value in (env or {}).items():
        if not _NAME.fullmatch(name):
            raise InputError(f"environment variable {name!r} has a name no shell takes")
        lines.append(f"export {name}={shlex.quote(value)}")
    text = "\n".join([*lines, command if command.strip() else ":"])
    try:
        line = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # other lone surrogates, which JSON may spell
        line = text.encode("utf-8", "replace")
    if b"\0" in line:
        raise InputError("a command cannot hold a NUL character")
    if len(line) > MAX_COMMAND_BYTES:
        raise InputError(
            f"a command of {len(line)} bytes is longer than {MAX_COMMAND_BYTES}",
            hint="write it into a file, or give the data to its stdin",
        )
    return line


def operand(path: str) -> str:
    """Quote a path so that no program takes it for an option.

    Raises:
        FileNotFoundError: when it is empty.
    """
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


class Capture:
    """The beginning and the end of a stream of bytes, `limit` together."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._head_room = limit - limit // 2
        self._tail_room = limit // 2
        self._head = bytearray()
        self._tail = bytearray()

    @property
    def is_truncated(self) -> bool:
        return self.size > self._limit

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if room := self._head_room - len(self._head):
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data[-self._tail_room :] if self._tail_room else b""
            if len(self._tail) > 2 * self._tail_room:
                del self._tail[: -self._tail_room]

    def content(self) -> bytes:
        """Return everything; only of use when nothing was left out."""
        return bytes(self._head + self._tail)

    def text(self) -> str:
        if not self.is_truncated:
            return self.content().decode("utf-8", "replace")
        head = codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(self._head))
        tail = bytes(self._tail[-self._tail_room :]) if self._tail_room else b""
        start = next((n for n, byte in enumerate(tail[:4]) if byte & 0xC0 != 0x80), 0)
        gap = self.size - len(self._head) - len(tail)
        return f"{head}\n[{gap} bytes left out]\n{tail[start:].decode('utf-8', 'replace')}"


class Execution(asyncssh.SSHClientSession[bytes]):
    """One exec channel, from its start to its end.

    `over` is set when the command has exited and its output is complete, when its channel is
    gone, or when `stop_at_limit` is given and there is more output than that.
    """

    def __init__(self, stdin: bytes, max_output_bytes: int, *, stop_at_limit: bool = False) -> None:
        self.stdout = Capture(max_output_bytes)
        self.stderr = Capture(max_output_bytes)
        self.over = asyncio.Event()
        self.is_gone = False
        self.exit_status: int | None = None
        self.exit_signal: str | None = None
        self._stop_at_limit = stop_at_limit
        self._stdin = memoryview(stdin)
        self._paused = False
        self._fed = False
        self._ended = False
        self._drained: asyncio.TimerHandle | None = None
        self._abandoned = False
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the channel is open."""
        return self._channel is not None

    @property
    def has_exited(self) -> bool:
        """Whether the daemon has said how the command ended."""
        return self.exit_status is not None or self.exit_signal is not None

    @property
    def is_left_running(self) -> bool:
        """Whether the command has exited and something it started still holds its output."""
        return self.has_exited and not self._ended and not self.is_gone

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan
        if self._abandoned:
            self.kill()

    def session_started(self) -> None:
        self._feed()

    def data_received(self, data: bytes, datatype: Any) -> None:
        if self.over.is_set():
            return  # left running, or too much of it: nobody reads this any more
        capture = self.stdout if datatype is None else self.stderr
        capture.add(data)
        if self._stop_at_limit and capture.is_truncated:
            self.over.set()
        elif self._drained is not None:
            self._await_rest()

    def eof_received(self) -> bool:
        self._ended = True
        return True

    def exit_status_received(self, status: int) -> None:
        self.exit_status = status
        self._await_rest()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self.exit_signal = signal
        self._await_rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        self._channel = None
        if self._drained is not None:
            self._drained.cancel()
        self.over.set()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._feed()

    def signal(self, name: str) -> None:
        """Send the command's process group a signal; no error when it is gone."""
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.send_signal(name)

    def kill(self) -> None:
        """Kill the command and close its channel, whether it is open yet or not."""
        self._abandoned = True
        self.signal("KILL")
        self.close()

    def close(self) -> None:
        """Close the channel, if it is open."""
        if self._channel is not None:
            self._channel.abort()

    def result(self, *, timed_out: bool) -> CommandResult:
        return CommandResult(
            exit_status=None if timed_out else self.exit_status,
            exit_signal=self.exit_signal,
            stdout=self.stdout.text(),
            stderr=self.stderr.text(),
            stdout_truncated=self.stdout.is_truncated,
            stderr_truncated=self.stderr.is_truncated,
            stdout_bytes=self.stdout.size,
            stderr_bytes=self.stderr.size,
            timed_out=timed_out,
            left_running=self.is_left_running and not timed_out,
        )

    def _await_rest(self) -> None:
        """Give the output `_DRAIN_S` of silence to end: what the command left behind may hold it.

        A daemon may tell the exit before the last output it still has in hand.
        """
        if self._drained is not None:
            self._drained.cancel()
        self._drained = asyncio.get_running_loop().call_later(_DRAIN_S, self.over.set)

    def _feed(self) -> None:
        """Write input until the channel has enough of it for now, then its end."""
        channel: Any = self._channel
        if channel is None or self._fed:
            return
        with contextlib.suppress(OSError):  # a command that has ended reads nothing
            while self._stdin and not self._paused:
                piece, self._stdin = self._stdin[:_PIECE_BYTES], self._stdin[_PIECE_BYTES:]
                channel.write(bytes(piece))
            if not self._stdin:
                self._fed = True
                channel.write_eof()
