"""The published client drives an environment that we serve."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hud.environment import Answer, Capability, Environment
from tests.wire.harness import Place, Steps, until, waited
from tests.wire.peer.theirs import program
from tests.wire.test_tunnels import daemon, echo


class Sum(BaseModel):
    total: int


def arithmetic(capabilities: list[Capability] | None = None) -> Environment:
    env = Environment("arithmetic", version="4.2", capabilities=capabilities)

    @env.template(description="Add two numbers.")
    async def add(a: int, b: int = 2) -> Steps:
        answer = yield f"What is {a} + {b}?"
        right = str(answer).strip() == str(a + b)
        yield {"score": float(right), "content": f"got {answer}", "info": {"a": a}}

    @env.template(returns=Sum)
    async def typed() -> Steps:
        answer: Answer[Any] = yield [
            {"role": "user", "content": {"type": "text", "text": "total?"}},
        ]
        yield 1.0 if isinstance(answer.content, Sum) and answer.content.total == 5 else 0.0

    @env.template()
    async def large(size: int) -> Steps:
        answer = yield "ü" * size
        yield 1.0 if answer == "ü" * size else 0.0

    @env.template()
    async def fails() -> Steps:
        yield "p"
        raise ValueError("the reason")

    return env


async def test_hello_list_start_and_grade(tcp: Place, tmp_path: Path, peer_python: Path) -> None:
    url = await tcp.serve(arithmetic())
    text = """
async def main(url):
    async with connect(Runtime(url)) as client:
        say([client.manifest.server_info.name, client.manifest.server_info.version,
             bool(client.manifest.session_id), client.manifest.bindings])
        say({task["id"]: task for task in await client.list_tasks()})
        say(await client.start_task("add", {"a": "40"}))
        say(await client.grade({"answer": "42"}))
        say(await client.start_task("typed"))
        say(await client.grade({"answer": '{"total": 5}'}))
"""
    async with program(peer_python, tmp_path, text, url) as theirs:
        assert await theirs.said() == ["arithmetic", "4.2", True, []]
        tasks = await theirs.said()
        assert tasks["add"]["description"] == "Add two numbers."
        assert tasks["add"]["args"]["required"] == ["a"]
        assert tasks["typed"]["returns"]["properties"]["total"]["type"] == "integer"
        assert await theirs.said() == {"prompt": "What is 40 + 2?"}
        assert await theirs.said() == {"score": 1.0, "content": "got 42", "info": {"a": 40}}
        assert (await theirs.said())["prompt"][0]["content"]["text"] == "total?"
        assert (await theirs.said())["score"] == 1.0
        await theirs.ended()


async def test_frames_of_megabytes_pass(tcp: Place, tmp_path: Path, peer_python: Path) -> None:
    url = await tcp.serve(arithmetic())
    text = """
async def main(url):
    async with connect(Runtime(url)) as client:
        for size in (40_000, 1_000_000, 2_000_000):
            prompt = (await client.start_task("large", {"size": size}))["prompt"]
            say([len(prompt), (await client.grade({"answer": prompt}))["score"]])
        try:
            await client.start_task("large", {"size": 9_000_000})
        except HudProtocolError as error:
            say([error.code, str(error)])
        say(await client.start_task("add", {"a": 1}))
"""
    async with program(peer_python, tmp_path, text, url) as theirs:
        for size in (40_000, 1_000_000, 2_000_000):
            assert await theirs.said() == [size, 1.0]
        code, message = await theirs.said()
        assert code == -32000
        assert "exceeds the limit" in message
        assert await theirs.said() == {"prompt": "What is 1 + 2?"}
        await theirs.ended()


async def test_errors_arrive_with_code_and_reason(
    tcp: Place, tmp_path: Path, peer_python: Path
) -> None:
    url = await tcp.serve(arithmetic())
    text = """
async def main(url):
    async with connect(Runtime(url)) as client:
        async def tried(call):
            try:
                await call
            except HudProtocolError as error:
                say([error.code, str(error)])
        await tried(client.start_task("divide"))
        await tried(client.start_task("add"))
        await tried(client.grade({"answer": 1}))
        await client.start_task("fails")
        await tried(client.grade({"answer": 1}))
        say(await client.start_task("add", {"a": 1}))
"""
    async with program(peer_python, tmp_path, text, url) as theirs:
        for code, reason in [
            (-32602, "no task 'divide'"),
            (-32602, "missing argument 'a'"),
            (-32600, "no task in progress"),
            (-32000, "ValueError: the reason"),
        ]:
            found, message = await theirs.said()
            assert found == code
            assert reason in message
        assert await theirs.said() == {"prompt": "What is 1 + 2?"}
        await theirs.ended()


async def test_cancel_interrupts_our_code(tcp: Place, tmp_path: Path, peer_python: Path) -> None:
    entered, ended = asyncio.Event(), asyncio.Event()
    env = Environment("long")

    @env.template()
    async def long() -> Steps:
        try:
            yield "p"
            entered.set()
            await asyncio.Event().wait()
            yield 1.0
        finally:
            ended.set()

    url = await tcp.serve(env)
    text = """
async def main(url):
    async with connect(Runtime(url)) as client:
        await client.start_task("long")
        grading = asyncio.create_task(client.grade({"answer": 1}))
        await told()
        grading.cancel()
        await asyncio.wait([grading])
        say(grading.cancelled())  # it also drops the connection, whoever serves
    async with connect(Runtime(url)) as client:
        say(await client.start_task("long"))
        await client.cancel()
        try:
            await client.grade({"answer": 1})
        except HudProtocolError as error:
            say([error.code, str(error)])
"""
    async with program(peer_python, tmp_path, text, url) as theirs:
        await waited(entered)
        theirs.tell()
        await waited(ended)
        assert await theirs.said() is True
        assert await theirs.said() == {"prompt": "p"}
        assert await theirs.said() == [-32600, "hud rpc error -32600: no task in progress"]
        await theirs.ended()


async def test_a_parked_task_is_resumed_by_id_and_by_a_plain_grade(
    tcp: Place, tmp_path: Path, peer_python: Path
) -> None:
    url = await tcp.serve(arithmetic())
    text = """
async def main(url):
    async with connect(Runtime(url)) as client:
        session = client.manifest.session_id
        await client.start_task("add", {"a": 1})
    again = await raw(url)
    say((await again.hello(session)).session_id == session)
    say((await again.grade({"answer": "3"}))["score"])
    await again.close()
    async with connect(Runtime(url)) as client:
        await client.start_task("add", {"a": 2})
    async with connect(Runtime(url)) as client:
        say((await client.grade({"answer": "4"}))["score"])
    async with connect(Runtime(url)) as client:
        try:
            await client.grade({"answer": "4"})
        except HudProtocolError as error:
            say([error.code, str(error)])
"""
    async with program(peer_python, tmp_path, text, url) as theirs:
        assert await theirs.said() is True
        assert await theirs.said() == 1.0
        assert await theirs.said() == 1.0
        assert await theirs.said() == [-32600, "hud rpc error -32600: no task in progress"]
        await theirs.ended()


async def test_its_forwarder_reaches_our_capability(
    tcp: Place, tmp_path: Path, peer_python: Path
) -> None:
    text = """
async def main(url):
    async with connect(Runtime(url)) as client:
        row = client.binding("shell")
        say([row.protocol, row.params["host_pubkey"], row.url])
        say(client.binding("ssh").url == row.url)
        host, port = row.url.removeprefix("ssh://").rsplit(":", 1)
        async def through(payload):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(payload)
            writer.write_eof()
            received = await reader.read()
            writer.close()
            return received == payload
        payloads = [bytes([n]) * 300_000 * (n + 1) for n in range(4)]
        say(await asyncio.gather(*map(through, payloads)))
        say(await client.start_task("add", {"a": 1}))
"""
    async with daemon(echo) as port:
        row = Capability.ssh(url=f"127.0.0.1:{port}", host_pubkey="ssh-ed25519 AAAA")
        url = await tcp.serve(arithmetic([row]))
        async with program(peer_python, tmp_path, text, url) as theirs:
            protocol, key, local = await theirs.said()
            assert (protocol, key) == ("ssh/2", "ssh-ed25519 AAAA")
            assert local.startswith("ssh://127.0.0.1:")
            assert local != row.url
            assert await theirs.said() is True
            assert await theirs.said() == [True] * 4
            assert await theirs.said() == {"prompt": "What is 1 + 2?"}
            await theirs.ended()


async def test_every_row_we_declare_is_read(tcp: Place, tmp_path: Path, peer_python: Path) -> None:
    rows = [
        Capability.ssh(url="127.0.0.1", host_pubkey="k", user="me", cwd="/w"),
        Capability.mcp(url="http://127.0.0.1:8100/mcp", auth_token="t"),
        Capability.cdp(url="127.0.0.1"),
        Capability.rfb(url="127.0.0.1", display=1, password="p"),
        Capability.robot(url="127.0.0.1", contract={"robot_type": "arm", "features": {}}),
    ]
    url = await tcp.serve(arithmetic(rows))
    text = """
async def main(url):
    async with connect(Runtime(url)) as client:
        say([row.to_manifest() for row in client.manifest.bindings])
"""
    async with program(peer_python, tmp_path, text, url) as theirs:
        seen = await theirs.said()
        assert [(row["name"], row["protocol"], row["params"]) for row in seen] == [
            (row.name, row.protocol, row.params) for row in rows
        ]
        await theirs.ended()


async def test_its_rollouts_run_on_our_environment(
    tcp: Place, tmp_path: Path, peer_python: Path
) -> None:
    url = await tcp.serve(arithmetic())
    text = """
from hud import Task, Taskset
from hud.agents.base import Agent

class Adds(Agent):
    async def __call__(self, run):
        a, b = run.prompt_text.removeprefix("What is ").removesuffix("?").split(" + ")
        run.trace.content = str(int(a) + int(b) + (a == "3"))

async def main(url):
    tasks = [Task(env="arithmetic", id="add", args={"a": a}) for a in (1, 2, 3)]
    job = await Taskset("sums", tasks).run(Adds(), runtime=Runtime(url), group=2)
    say([[run.reward, run.trace.is_error, run.grade.content] for run in job.runs])
    say(job.reward)
"""
    async with program(peer_python, tmp_path, text, url) as theirs:
        runs = await _said(theirs)
        assert sorted(run[0] for run in runs) == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
        assert [run[1] for run in runs] == [False] * 6
        assert sorted({run[2] for run in runs}) == ["got 3", "got 4", "got 6"]
        assert round(await _said(theirs), 3) == 0.667
        await theirs.ended()


async def _said(theirs: Any) -> Any:
    """Return the next value printed, past what the published client prints of its own."""
    while True:
        line = await theirs.line()
        assert line, "their program ended"
        try:
            return json.loads(line)
        except ValueError:
            continue


async def test_a_client_that_vanishes_leaves_its_task_to_another(
    tcp: Place, tmp_path: Path, peer_python: Path
) -> None:
    closed: list[str] = []
    env = Environment("kept")

    @env.template()
    async def kept() -> Steps:
        try:
            yield "p"
            yield 1.0
        finally:
            closed.append("kept")

    url = await tcp.serve(env)
    text = """
import os
async def main(url):
    client = await raw(url)
    say((await client.hello()).session_id)
    await client.start_task("kept")
    say("started")
    os._exit(0)
"""
    async with program(peer_python, tmp_path, text, url) as theirs:
        session = await theirs.said()
        assert await theirs.said() == "started"
        await theirs.ended()
    wire = await tcp.connect(url)
    while "error" in (reply := await wire.call("hello", {"session_id": session})):
        assert "live" in reply["error"]["message"]
    assert closed == []
    assert await wire.result("tasks.grade", {"answer": 1}) == {"score": 1.0}
    await until(lambda: closed == ["kept"])
