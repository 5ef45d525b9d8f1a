"""Run programs in the interpreter that holds the published client, and read what they print.

Nothing of ours is importable there: the two sides meet on the wire alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from tests.wire.harness import DEADLINE_S

PROLOGUE = """
import asyncio, json, sys
from hud.clients import HudClient, HudProtocolError, connect
from hud.eval import Runtime

def say(value):
    print(json.dumps(value), flush=True)

async def told():
    "Wait for a line from the test."
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

async def raw(url):
    host, port = url.removeprefix("tcp://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    return HudClient(reader, writer, endpoint=(host, int(port)))
"""
EPILOGUE = """
asyncio.run(main(*sys.argv[1:]))
"""


def environment() -> dict[str, str]:
    """Return an environment in which neither our sources nor any account can be found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUD_")}
    kept.pop("PYTHONPATH", None)
    return {**kept, "HUD_TELEMETRY_ENABLED": "false"}


class Theirs:
    """A program running in their interpreter."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            return (await self.process.stdout.readline()).decode()

    async def said(self) -> Any:
        """Return the next value the program printed."""
        line = await self.line()
        if not line:
            raise AssertionError(f"their program ended: {(await self._errors())[-2000:]}")
        return json.loads(line)

    def tell(self) -> None:
        """Let the program go on from where it waits."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def ended(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            code = await self.process.wait()
        assert code == 0, (await self._errors())[-2000:]

    async def _errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode(errors="replace")


@contextlib.asynccontextmanager
async def running(python: Path, *arguments: str, cwd: Path) -> AsyncGenerator[Theirs]:
    process = await asyncio.create_subprocess_exec(
        python,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env=environment(),
        limit=1 << 26,
    )
    try:
        yield Theirs(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def program(python: Path, folder: Path, text: str, *args: str) -> AsyncGenerator[Theirs]:
    """Run `async def main(…)` of `text` with the connection helpers above."""
    path = folder / "program.py"
    path.write_text(PROLOGUE + text + EPILOGUE, encoding="utf-8")
    async with running(python, str(path), *args, cwd=folder) as theirs:
        yield theirs
