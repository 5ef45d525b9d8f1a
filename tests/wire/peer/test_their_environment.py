"""Our client drives an environment that the published server serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud.clients import HudProtocolError, connect
from hud.runtimes.base import Runtime
from tests.wire.harness import DEADLINE_S
from tests.wire.peer.theirs import running

SOURCE = """
import asyncio, os, pathlib
from hud.environment import Capability, Environment

env = Environment("theirs", version="0.9")
note = pathlib.Path(__file__).with_name("note")

async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()

@env.initialize
async def up():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    env.add_capability(Capability(name="pipe", protocol="ssh/2", url=f"ssh://127.0.0.1:{port}"))

@env.template(description="Repeat a word.")
async def repeat(word: str, times: int = 2):
    answer = yield " ".join([word] * times)
    yield {"score": 1.0 if answer == word else 0.0, "info": {"times": times}}

@env.template()
async def large(size: int):
    answer = yield "ü" * size
    yield float(len(answer))

@env.template()
async def slow():
    try:
        yield "p"
        note.write_text("entered")
        await asyncio.sleep(3600)
        yield 1.0
    finally:
        note.write_text("ended")

@env.template()
async def fails():
    yield "p"
    raise ValueError("their reason")
"""


@pytest.fixture
async def theirs(tmp_path: Path, peer_python: Path) -> AsyncGenerator[Runtime]:
    (tmp_path / "env.py").write_text(SOURCE, encoding="utf-8")
    command = ("-W", "ignore", "-m", "hud.environment.server", "env.py", "--port", "0")
    async with running(peer_python, *command, cwd=tmp_path) as process:
        line = ""
        while not line.startswith("HUD_SERVE_PORT="):
            line = await process.line()
            assert line, "their server ended"
        yield Runtime(f"tcp://127.0.0.1:{line.strip().partition('=')[2]}")


async def test_hello_list_start_and_grade(theirs: Runtime) -> None:
    async with connect(theirs) as client:
        assert client.manifest is not None
        assert client.manifest.server_info.name == "theirs"
        assert client.manifest.server_info.version == "0.9"
        tasks = {task["id"]: task for task in await client.list_tasks()}
        assert sorted(tasks) == ["fails", "large", "repeat", "slow"]
        assert tasks["repeat"]["description"] == "Repeat a word."
        assert tasks["repeat"]["args"]["required"] == ["word"]
        frame = await client.start_task("repeat", {"word": "hi", "times": "3"})
        assert frame["prompt"] == "hi hi hi"
        grade = await client.grade({"answer": "hi"})
        assert (grade["score"], grade["info"]) == (1.0, {"times": 3})


async def test_errors_arrive_with_code_and_reason(theirs: Runtime) -> None:
    async with connect(theirs) as client:
        with pytest.raises(HudProtocolError) as caught:
            await client.start_task("nobody")
        assert caught.value.code == -32602
        with pytest.raises(HudProtocolError) as caught:
            await client.grade({"answer": 1})
        assert (caught.value.code, caught.value.message) == (-32600, "no task in progress")
        await client.start_task("fails")
        with pytest.raises(HudProtocolError, match="their reason") as caught:
            await client.grade({"answer": 1})
        assert (caught.value.code, caught.value.boundary) == (-32000, None)


async def test_frames_of_megabytes_pass(theirs: Runtime) -> None:
    async with connect(theirs) as client:
        for size in (40_000, 2_000_000):
            frame = await client.start_task("large", {"size": size})
            assert frame["prompt"] == "ü" * size
            assert (await client.grade({"answer": frame["prompt"]}))["score"] == size


async def test_cancel_interrupts_their_code_and_a_heartbeat_does_no_harm(
    theirs: Runtime, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    async with connect(theirs) as client:
        await client.start_task("slow")
        grading = asyncio.create_task(client.grade({"answer": 1}))
        await asyncio.sleep(0)  # the request is on its way
        client.start_heartbeat(0.001)
        with pytest.raises(HudProtocolError, match="still running"):
            await client.list_tasks()
        await client.cancel()
        with pytest.raises(HudProtocolError) as caught:
            await grading
        assert caught.value.code == -32000
        assert note.read_text(encoding="utf-8") == "ended"
        assert (await client.start_task("repeat", {"word": "x"}))["prompt"] == "x x"
        await client.bye()
        async with asyncio.timeout(DEADLINE_S):
            await client.lost


async def test_a_task_parked_there_is_resumed_by_id_and_by_a_plain_grade(theirs: Runtime) -> None:
    async with connect(theirs) as client:
        assert client.manifest is not None
        session = client.manifest.session_id
        await client.start_task("repeat", {"word": "a"})
    async with connect(theirs) as client:
        manifest = None
        async with asyncio.timeout(DEADLINE_S):
            while manifest is None:
                with contextlib.suppress(HudProtocolError):
                    manifest = await client.hello(session)
        assert manifest.session_id == session
        assert (await client.grade({"answer": "a"}))["score"] == 1.0
        await client.start_task("repeat", {"word": "b"})
    async with connect(theirs) as client:
        grade = None
        async with asyncio.timeout(DEADLINE_S):
            while grade is None:
                with contextlib.suppress(HudProtocolError):
                    grade = await client.grade({"answer": "b"})
        assert grade["score"] == 1.0


async def test_our_forwarder_reaches_their_capability(theirs: Runtime) -> None:
    async with connect(theirs) as client:
        row = client.binding("pipe")
        assert row == client.binding("ssh")
        host, port = row.address or ("", 0)
        assert host == "127.0.0.1"

        async def through(payload: bytes) -> bytes:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(payload)
            writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                received = await reader.read()
            writer.close()
            return received

        payloads = [os.urandom(1_000_000) for _ in range(4)]
        assert await asyncio.gather(*map(through, payloads)) == payloads
        assert (await client.start_task("repeat", {"word": "y"}))["prompt"] == "y y"
