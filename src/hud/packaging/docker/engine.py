"""The container engine of this machine, spoken to through its own command line.

The command line knows where the engine is (contexts, `DOCKER_HOST`), and Docker's and Podman's
are nearly the same. What is built or run with it belongs to the callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from hud._core.errors import InputError, RuntimeFault, bounded
from hud._core.processes import signal_group
from hud._core.redact import redact

OUTPUT_BYTES = 1 << 20
COMMAND_S = 60.0
_LINE_BYTES = 1 << 16
_STOP_S = 10.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Line = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Done:
    """What a command of the engine came to: its exit code and the ends of its outputs."""

    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The last line of what it complained of."""
        lines = [line for line in (self.err or self.out).strip().splitlines() if line.strip()]
        told = [line for line in lines if not line.startswith("See '") and "--help" not in line]
        return bounded(redact((told or lines or [f"exit code {self.code}"])[-1].strip()), 600)


@dataclass(frozen=True, slots=True)
class Engine:
    """A command line: `docker` or `podman`."""

    program: str
    kind: Literal["docker", "podman"]

    async def run(
        self,
        *words: str,
        timeout_s: float = COMMAND_S,
        stdin: bytes | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command to its end; of each output the first MiB is kept.

        Cancelled or out of time, the command is killed; what it has asked of the engine may
        happen nevertheless.

        Raises:
            RuntimeFault: when it does not end in time, or cannot be run.
        """
        process = await self._start(words, stdin=stdin is not None, variables=variables)
        try:
            async with asyncio.timeout(timeout_s):
                assert process.stdout is not None and process.stderr is not None
                if stdin is not None:
                    assert process.stdin is not None
                    process.stdin.write(stdin)
                    process.stdin.close()
                out, err = await asyncio.gather(_read(process.stdout), _read(process.stderr))
                code = await process.wait()
        except TimeoutError:
            raise RuntimeFault(
                f"{self.kind} {words[0]} did not end within {timeout_s:g} s",
                hint="is the engine running? see what it says to: docker info",
            ) from None
        finally:
            await _end(process)
        return Done(code, out, err)

    async def check(self, *words: str, timeout_s: float = COMMAND_S) -> str:
        """Run a command and return what it printed.

        Raises:
            RuntimeFault: when it fails.
        """
        done = await self.run(*words, timeout_s=timeout_s)
        if done.code != 0:
            raise RuntimeFault(f"{self.kind} {words[0]} failed: {done.reason}")
        return done.out

    async def follow(
        self,
        *words: str,
        on_line: Line,
        variables: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Run a command, pass on each line of both its outputs, and return its exit code.

        Raises:
            RuntimeFault: when it does not end in time, or cannot be run.
        """
        process = await self._start(words, variables=variables, merged=True)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                while line := await _line(process.stdout):
                    on_line(redact(_COLOUR.sub("", line.decode("utf-8", "replace")).rstrip()))
                return await process.wait()
        except TimeoutError:
            raise RuntimeFault(
                f"{self.kind} {words[0]} did not end within {timeout_s:g} s"
            ) from None
        finally:
            await _end(process)

    async def info(self) -> dict[str, Any]:
        """Return what the engine says of itself; processors and memory as Docker names them.

        Raises:
            RuntimeFault: when it does not answer.
        """
        done = await self.run("info", "--format", "{{json .}}")
        try:
            found = json.loads(done.out)
        except ValueError:
            found = None
        problems = cast("list[str]", found.get("ServerErrors") or []) if found else []
        if done.code != 0 or not found or problems:
            said = redact(bounded(problems[0], 600)) if problems else done.reason
            raise RuntimeFault(
                f"the container engine does not answer: {said}",
                hint="start it (systemctl start docker), or say where it is with DOCKER_HOST",
            )
        if self.kind == "podman":
            host = cast("dict[str, Any]", found.get("host") or {})
            found |= {"NCPU": host.get("cpus"), "MemTotal": host.get("memTotal")}
        return cast("dict[str, Any]", found)

    async def _start(
        self,
        words: Sequence[str],
        *,
        stdin: bool = False,
        variables: Mapping[str, str] | None = None,
        merged: bool = False,
    ) -> asyncio.subprocess.Process:
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            return await asyncio.create_subprocess_exec(
                self.program,
                *words,
                stdin=pipe if stdin else null,
                stdout=pipe,
                stderr=asyncio.subprocess.STDOUT if merged else pipe,
                env={**os.environ, **(variables or {})},
                start_new_session=True,
                limit=_LINE_BYTES,
            )
        except OSError as error:
            raise RuntimeFault(f"{self.program} cannot be run: {error.strerror}") from error


def find_engine() -> Engine:
    """Return the engine of this machine; `HUD_ENGINE` names another program than the first found.

    Raises:
        InputError: when there is none.
    """
    named = os.environ.get("HUD_ENGINE", "").strip()
    for name in [named] if named else ["docker", "podman"]:
        path = shutil.which(name)
        if path is not None:
            return Engine(path, "podman" if "podman" in os.path.realpath(path) else "docker")
    raise InputError(
        f"there is no {bounded(named) if named else 'docker or podman'} on this machine",
        hint="install Docker or Podman, or build without: hud build --bundle",
    )


async def _read(stream: asyncio.StreamReader) -> str:
    kept = bytearray()
    while block := await stream.read(_LINE_BYTES):
        kept += block[: OUTPUT_BYTES - len(kept)]
    return kept.decode("utf-8", "replace")


async def _line(stream: asyncio.StreamReader) -> bytes:
    """Return the next line, a long one in pieces; nothing at the end."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.read(max(error.consumed, 1))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a command that still runs, and collect it, whatever else happens."""
    if process.returncode is None:
        signal_group(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await process.wait()
    transport: Any = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()
