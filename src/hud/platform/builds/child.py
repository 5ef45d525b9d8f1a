"""A program of ours that does one build's work in a process of its own, told line by line.

It is trusted; what it starts is not, and it walls that in itself. It sees none of the server's
secrets, has limits on memory and processes, and ends with the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

from hud._core import json
from hud._core.errors import RuntimeFault, bounded
from hud._core.paths import make_home
from hud._core.processes import signal_group
from hud._core.redact import names_secret
from hud.platform.builds.builder import BuildAsk, BuildFailed, Built, Say
from hud.sandbox import files, folders
from hud.sandbox.cgroup import Cgroup

_MEMORY_BYTES = 6 << 30
_PROCESSES = 4096
_STOP_S = 10.0
_LINE_AT_MOST = 64 * 1024
_ANSWER_BYTES = 32 << 20


async def build_apart(module: str, home: Path, context: Path, ask: BuildAsk, say: Say) -> Built:
    """Have the program MODULE build a context, with a scratch folder that is gone afterwards.

    Raises:
        BuildFailed: when it does not build.
        RuntimeFault: when it is this machine that cannot build.
    """
    store = home / "bundles"
    await asyncio.to_thread(make_home, store)
    await asyncio.to_thread(folders.sweep)
    scratch = folders.make("build")
    try:
        order = {
            "context": str(context),
            "scratch": str(scratch),
            "store": str(store),
            "name": ask.name,
            "team": ask.team,
            "parent": os.getpid(),
            "no_cache": ask.no_cache,
            "variables": dict(ask.variables),
            "build_args": dict(ask.build_args),
            "build_secrets": dict(ask.build_secrets),
        }
        # The program hides this home from what it walls in.
        env = {"HUD_HOME": str(home), "TMPDIR": str(scratch)}
        if "HUD_ENGINE" in os.environ:
            env["HUD_ENGINE"] = os.environ["HUD_ENGINE"]
        answer = await run_child(module, json.encode(order), env, say)
    finally:
        await asyncio.shield(asyncio.to_thread(files.remove_tree, scratch))
    if "error" in answer:
        hint = answer.get("hint")
        kind = RuntimeFault if answer.get("is_here") else BuildFailed
        raise kind(bounded(str(answer["error"]), 1500), hint=bounded(hint, 300) if hint else None)
    return Built(answer["uri"], answer["manifest"], answer["lock"], answer.get("image"))


async def run_child(module: str, order: bytes, env: dict[str, str], say: Say) -> dict[str, Any]:
    """Run `python -m MODULE FD` with `order` on its stdin, and return what it writes to FD.

    Cancelled, it is told to end and waited for; nothing it started is left.

    Raises:
        BuildFailed: when it ends without an answer.
    """
    answer, answerer = os.pipe2(os.O_CLOEXEC)
    group: Cgroup | None = None
    process: asyncio.subprocess.Process | None = None
    try:
        group = await asyncio.to_thread(
            Cgroup.create, "build", memory_bytes=_MEMORY_BYTES, pids=_PROCESSES
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, str(answerer)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=environment(env),
                pass_fds=(answerer,),
                start_new_session=True,
                limit=_LINE_AT_MOST,
            )
        finally:
            os.close(answerer)
        if group is not None:
            await asyncio.to_thread(group.add, process.pid)
        assert process.stdin is not None and process.stdout is not None
        async with asyncio.TaskGroup() as tasks:
            said = tasks.create_task(_whole(answer))
            tasks.create_task(_told(process.stdout, say))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.write(order)
                await process.stdin.drain()
            process.stdin.close()
            code = await process.wait()
        killed = 0 if group is None else await asyncio.to_thread(group.oom_kills)
        return _read(said.result(), code, killed)
    finally:
        os.close(answer)
        await asyncio.shield(_end(process, group))


def environment(extra: dict[str, str]) -> dict[str, str]:
    """Return the variables of a child: how packages are found here, and nothing secret."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HUD_") and not names_secret(name)
    }
    return {**kept, **extra, "PYTHONUNBUFFERED": "1"}


async def _end(process: asyncio.subprocess.Process | None, group: Cgroup | None) -> None:
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await process.wait()
    if process is not None:
        signal_group(process.pid, signal.SIGKILL)
        await process.wait()
    if group is not None:
        await asyncio.to_thread(group.kill)
        await asyncio.to_thread(group.remove)


async def _told(stream: asyncio.StreamReader, say: Say) -> None:
    async for line in _lines(stream):
        # Programs that draw progress end a line with a carriage return alone; the last one counts.
        text = line.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2]
        if text.strip():
            say(text.rstrip())


async def _lines(stream: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    while True:
        try:
            line = await stream.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            line = error.partial
        except asyncio.LimitOverrunError as error:
            line = await stream.read(max(1, error.consumed))
        if not line:
            return
        yield line


async def _whole(descriptor: int) -> bytes:
    """Read a pipe to its end, and no more than an answer may be."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    pipe = os.fdopen(os.dup(descriptor), "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        held = bytearray()
        while chunk := await reader.read(1 << 16):
            held += chunk
            if len(held) > _ANSWER_BYTES:
                return b""
        return bytes(held)
    finally:
        transport.close()


def _read(said: bytes, code: int, oom_kills: int) -> dict[str, Any]:
    try:
        found: Any = json.decode(said)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return cast("dict[str, Any]", found)
    if oom_kills:
        raise BuildFailed(f"the build used more than {_MEMORY_BYTES >> 20} MB of memory")
    why = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    raise BuildFailed(f"the build {why} and said no more", hint="its log may say why")
