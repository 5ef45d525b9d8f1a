"""`python -m hud.environment.server`: what containers and child processes run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.wire.harness import DEADLINE_S, Wire

SOURCE = """
import asyncio, pathlib, sys
from hud.environment import Environment

env = Environment("process", version="7")
log = pathlib.Path(__file__).with_name("log")

def note(text):
    with log.open("a") as out:
        out.write(text + "\\n")

@env.initialize
async def first_up():
    await asyncio.sleep(0)
    note("first up")

@env.initialize
async def second_up():
    note("second up")

@env.shutdown
async def first_down():
    note("first down")

@env.shutdown
async def second_down():
    await asyncio.sleep(0)
    note("second down")

@env.template()
async def it(name: str = "it"):
    import beside
    try:
        yield beside.PROMPT
        yield 1.0
    finally:
        note(f"{name} ended")

@env.template()
async def stubborn():
    yield "p"
    print("stubborn", flush=True)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note("no")
"""


class Server:
    """One server process and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> bytes:
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.stdout.readline()

    async def url(self) -> str:
        line = await self.line()
        name, _, port = line.decode().rstrip("\n").partition("=")
        assert name == "HUD_SERVE_PORT", line
        return f"tcp://127.0.0.1:{int(port)}"

    async def left(self) -> tuple[int, str, str]:
        """Wait for the end and return the exit code and the rest of stdout and stderr."""
        async with asyncio.timeout(DEADLINE_S):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def serving(*arguments: str, cwd: Path) -> AsyncGenerator[Server]:
    source = str(Path(__file__).parents[2] / "src")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hud.environment.server", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=cwd,
        env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    try:
        yield Server(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "env.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "beside.py").write_text("PROMPT = 'from beside'\n", encoding="utf-8")
    return tmp_path


def noted(folder: Path) -> list[str]:
    return (folder / "log").read_text(encoding="utf-8").splitlines()


async def test_hooks_run_around_serving_and_the_port_is_said_once(folder: Path) -> None:
    async with serving(str(folder / "env.py"), "--port", "0", cwd=folder.parent) as server:
        url = await server.url()
        assert noted(folder) == ["first up", "second up"]
        held, parked = await Wire.open(url), await Wire.open(url)
        for name, wire in (("held", held), ("parked", parked)):
            start = await wire.result("tasks.start", {"id": "it", "args": {"name": name}})
            assert start == {"prompt": "from beside"}
        await parked.close()

        server.process.send_signal(signal.SIGTERM)

        assert await server.left() == (0, "", "")
        assert await held.ended() == b""
        await held.close()
    assert noted(folder)[:2] == ["first up", "second up"]
    assert sorted(noted(folder)[2:4]) == ["held ended", "parked ended"]
    assert noted(folder)[4:] == ["second down", "first down"]


async def test_an_interrupt_from_the_keyboard_ends_it_as_well(folder: Path) -> None:
    async with serving("env.py", "--port", "0", cwd=folder) as server:
        await server.url()
        server.process.send_signal(signal.SIGINT)
        assert await server.left() == (0, "", "")
    assert noted(folder)[2:] == ["second down", "first down"]


async def test_a_signal_during_initialize_interrupts_it_and_runs_shutdown(folder: Path) -> None:
    text = SOURCE.replace("await asyncio.sleep(0)\n    note(\"first up\")",
                          "print('up', flush=True)\n    await asyncio.Event().wait()")  # fmt: skip
    (folder / "env.py").write_text(text, encoding="utf-8")
    async with serving("env.py", "--port", "0", cwd=folder) as server:
        assert await server.line() == b"up\n"

        server.process.send_signal(signal.SIGTERM)

        assert await server.left() == (0, "", "")
    assert noted(folder) == ["second down", "first down"]


async def test_code_that_ignores_its_cancellation_does_not_hold_the_process(
    folder: Path,
) -> None:
    async with serving("env.py", "--port", "0", cwd=folder) as server:
        wire = await Wire.open(await server.url())
        await wire.result("tasks.start", {"id": "stubborn"})
        wire.send("tasks.grade", {"answer": 1})
        assert await server.line() == b"stubborn\n"

        server.process.send_signal(signal.SIGTERM)

        code, out, err = await server.left()
        assert (code, out) == (0, "")
        assert "left behind" in err
        await wire.close()
    assert [line for line in noted(folder) if line != "no"][2:] == ["second down", "first down"]


@pytest.mark.parametrize(
    ("text", "arguments", "code", "says"),
    [
        ("x = (", [], 2, "error: env.py line 1: '(' was never closed"),
        ("1 / 0", [], 2, "error: env.py line 1 raised ZeroDivisionError"),
        ("import sys; sys.exit(0)", [], 2, "error: env.py line 1 raised SystemExit"),
        ("", [], 2, "error: env.py declares no Environment"),
        (SOURCE, ["--env", "other"], 2, "has no environment 'other' (its environments: process)"),
        (SOURCE, ["--host", "256.0.0.1"], 2, "error: cannot listen on 256.0.0.1:0"),
        (
            SOURCE.replace('note("second up")', 'raise OSError("no display")'),
            [],
            1,
            "error: environment 'process': initialize hook 'second_up' raised OSError: no display",
        ),
    ],
    ids=["syntax", "raises", "exits", "empty", "name", "host", "initialize"],
)
async def test_what_cannot_be_served_ends_with_one_sentence(
    tmp_path: Path, text: str, arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "env.py").write_text(textwrap.dedent(text), encoding="utf-8")
    async with serving("env.py", "--port", "0", *arguments, cwd=tmp_path) as server:
        left, out, err = await server.left()

    assert (left, out) == (code, "")
    assert says in err
    assert err.count("\n") == 1


async def test_a_port_in_use_is_said_before_anything_runs_on(folder: Path) -> None:
    async with serving("env.py", "--port", "0", cwd=folder) as first:
        port = (await first.url()).rpartition(":")[2]
        async with serving("env.py", "--port", port, cwd=folder) as second:
            code, out, err = await second.left()

    assert (code, out) == (2, "")
    assert f"cannot listen on 127.0.0.1:{port}" in err
    assert noted(folder)[-2:] == ["second down", "first down"]
