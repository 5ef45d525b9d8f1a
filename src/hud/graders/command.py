"""Run one bash command for a grader: bounded in time and output, and never left behind.

`CommandRunner` is the seam: a runner that uses a sandbox takes the place of `run_in_own_group`
without the grader noticing. Scoring is the grader's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hud._core.errors import GraderFault
from hud._core.finishing import unbroken

logger = logging.getLogger(__name__)

OUTPUT_LIMIT_BYTES = 64 * 1024
_DRAIN_S = 1.0
_REAP_S = 10.0
_PRIVATE = re.compile(r"^HUD_|KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
# Scripts that bash would source before the command, from the environment alone.
_SOURCED_BY_BASH = frozenset({"BASH_ENV", "ENV"})


@dataclass(frozen=True, slots=True)
class Output:
    """The end of one output stream: its last `OUTPUT_LIMIT_BYTES`, and how much came before."""

    text: str = ""
    dropped_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended; `exit_code` is None when its time ran out, negative for a signal.

    Attributes:
        ended_because: Which limit of its sandbox it was killed for, or nothing.
    """

    exit_code: int | None
    stdout: Output
    stderr: Output
    ended_because: str = ""


class NoWorkingDirectory(GraderFault):
    """The directory a command should run in is not there.

    An agent can cause that, so the grader scores it; raising it tells that case apart.
    """


class CommandRunner(Protocol):
    """Run `command` in bash and report how it ended.

    A command that fails or takes too long is a result. Raises `GraderFault` only when the command
    could not be run at all. Nothing the command started is alive when this returns or raises.
    """

    async def __call__(self, command: str, *, cwd: str | None, timeout_s: float) -> CommandResult:
        """Return the command's result after at most about `timeout_s` seconds."""
        ...


def public_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without HUD's own and secret-looking variables, nor what bash would source.

    Names that contain KEY, TOKEN, SECRET or PASSWORD, in any case, look secret.
    """
    return {
        name: value
        for name, value in environ.items()
        if not _PRIVATE.search(name) and name not in _SOURCED_BY_BASH
    }


async def run_in_own_group(command: str, *, cwd: str | None, timeout_s: float) -> CommandResult:
    """Run `command` as this user, in a session and process group of its own (`CommandRunner`).

    This is no sandbox: the command sees this machine's files and network. Its whole process group
    is killed when it ends, runs out of time or is cancelled; only a process that moved itself to
    another session escapes that. Background processes have one second to finish writing.

    Raises:
        GraderFault: when bash or `cwd` is missing, or no process can be started.
    """
    environment = public_environment(os.environ)
    argv = (_bash(environment), "--noprofile", "--norc", "-c", command)
    _check_directory(cwd)
    finished = False
    async with _captured() as (stdout, stdout_end), _captured() as (stderr, stderr_end):
        starting = asyncio.create_task(
            asyncio.create_subprocess_exec(
                *argv,
                stdin=DEVNULL,
                stdout=stdout_end,
                stderr=stderr_end,
                cwd=cwd,
                env=environment,
                start_new_session=True,
            )
        )
        try:
            try:
                process = await asyncio.shield(starting)
            except OSError as error:
                raise GraderFault(f"bash could not be started for a grader: {error}") from error
            stdout_end.close()
            stderr_end.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await process.wait()
                    finished = True
                    await _drained(stdout, stderr)
        finally:
            await unbroken(_end(starting))
        await _drained(stdout, stderr)
    exit_code = process.returncode if finished else None
    return CommandResult(exit_code=exit_code, stdout=stdout.output(), stderr=stderr.output())


class _Tail(asyncio.Protocol):
    """The end of what one pipe carried, and whether all its writers are gone."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self._kept = bytearray()
        self._dropped_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * OUTPUT_LIMIT_BYTES:
            self._forget_all_but_the_end()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def output(self) -> Output:
        self._forget_all_but_the_end()
        return Output(self._kept.decode("utf-8", "replace"), self._dropped_bytes)

    def _forget_all_but_the_end(self) -> None:
        excess = max(0, len(self._kept) - OUTPUT_LIMIT_BYTES)
        self._dropped_bytes += excess
        del self._kept[:excess]


@contextlib.asynccontextmanager
async def _captured() -> AsyncGenerator[tuple[_Tail, io.FileIO], None]:
    """Give a tail and the writable end of the pipe it reads.

    The pipe is ours rather than asyncio's, so that waiting for the process never means waiting
    for whoever else still holds its output open.
    """
    read_end, write_end = os.pipe()
    tail = _Tail()
    with io.FileIO(write_end, "wb") as writer:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: tail, io.FileIO(read_end, "rb"))
        try:
            yield tail, writer
        finally:
            transport.close()


async def _drained(*tails: _Tail) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            for tail in tails:
                await tail.closed.wait()


async def _end(starting: asyncio.Task[Process]) -> None:
    """Kill the process group and reap its leader, if one could be started.

    A process that is still being started is waited for: until then only its leader is known.
    """
    try:
        process = await starting
    except OSError:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await _reap(process)


async def _reap(process: Process) -> None:
    try:
        async with asyncio.timeout(_REAP_S):
            await process.wait()
    except TimeoutError:
        logger.error("process %d of a grader is still there after SIGKILL", process.pid)


def _bash(environment: Mapping[str, str]) -> str:
    path = environment.get("PATH", os.defpath)
    bash = shutil.which("bash", path=path)
    if bash is None:
        raise GraderFault(
            f"bash was not found on PATH ({path})",
            hint="Install bash where the environment runs.",
        )
    return bash


def _check_directory(cwd: str | None) -> None:
    if cwd is not None and not Path(cwd).is_dir():
        raise NoWorkingDirectory(
            f"the grader's working directory {cwd!r} does not exist or is not a directory",
            hint="Create it in the template before grading, or correct `cwd`.",
        )
