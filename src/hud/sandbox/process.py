"""Processes inside a sandbox, seen from outside: wait for one, signal it, run one to its end."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hud.sandbox.link import Link

if TYPE_CHECKING:
    from hud.sandbox.sandbox import Sandbox

_DRAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended: `exit_code` is None when its time ran out, negative for a signal.

    Attributes:
        dropped_bytes: How much of stdout and stderr came before what was kept.
        ended_because: Which limit it was killed for, when one was in the way, or nothing.
    """

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    dropped_bytes: int = 0
    ended_because: str = ""

    @property
    def returncode(self) -> int | None:
        """`exit_code`, by the name that `subprocess` and HUD have for it."""
        return self.exit_code

    @property
    def timed_out(self) -> bool:
        return self.exit_code is None


class Process:
    """One program that was started inside.

    Attributes:
        number: How the sandbox's supervisor knows it.
        pid: Its pid inside.
        terminal: Descriptor of its terminal's other side, the caller's to close, or None.
        notice: What had to be done so that it could start, a line for the agent, or nothing.
    """

    def __init__(self, link: Link, number: int, pid: int, terminal: int | None) -> None:
        self._link = link
        self._exit = link.exit_of(number)
        self._exit.add_done_callback(lambda _: link.forget(number))
        self.number = number
        self.pid = pid
        self.terminal = terminal
        self.notice = ""

    @property
    def exit_code(self) -> int | None:
        """Exit code, minus the number of the signal that ended it, or None while it runs."""
        return self._exit.result() if self._exit.done() else None

    async def wait(self) -> int:
        """Wait for its end and return the exit code; a sandbox that ends is signal 9."""
        return await asyncio.shield(self._exit)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal its process group; one that is gone is no error."""
        if not self._exit.done():
            self._link.tell("signal", target=self.number, number=int(number))


class _Tail(asyncio.Protocol):
    """The end of what one pipe carried."""

    def __init__(self, limit: int) -> None:
        self.closed = asyncio.Event()
        self.dropped = 0
        self._limit = limit
        self._kept = bytearray()

    def data_received(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * self._limit:
            self._trim()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def take(self) -> bytes:
        self._trim()
        return bytes(self._kept)

    def _trim(self) -> None:
        excess = max(0, len(self._kept) - self._limit)
        self.dropped += excess
        del self._kept[:excess]


async def run(
    sandbox: Sandbox,
    argv: Sequence[str],
    input: bytes,
    env: Mapping[str, str] | None,
    cwd: str | None,
    timeout_s: float | None,
    limit: int,
) -> Completed:
    """Do what `Sandbox.run` says."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        ends: list[int] = []
        tails: list[_Tail] = []
        for _ in range(2):
            read, write = os.pipe2(os.O_CLOEXEC)
            ends.append(write)
            tail = _Tail(limit)
            tails.append(tail)
            transport, _ = await loop.connect_read_pipe(
                lambda tail=tail: tail, io.FileIO(read, "rb")
            )
            stack.callback(transport.close)
        stdin = _file_of(input) if input else None
        try:
            process = await sandbox.spawn(
                argv, env=env, cwd=cwd, stdin=stdin, stdout=ends[0], stderr=ends[1]
            )
        finally:
            for fd in (*ends, *([] if stdin is None else [stdin])):
                os.close(fd)
        code: int | None = None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    code = await process.wait()
        finally:
            if code is None:
                process.kill()
                sandbox.hang_up([process])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                for tail in tails:
                    await tail.closed.wait()
        out, err = tails
        return Completed(code, out.take(), err.take(), out.dropped + err.dropped)


def _file_of(data: bytes) -> int:
    """Return the descriptor of an unnamed file with this content, at its beginning."""
    fd = os.memfd_create("hud-input", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
