"""The drive side: a client against a good server, and against everything a server should not do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from hud._core.errors import EnvironmentFault, InputError, RuntimeFault
from hud.clients import HudClient, HudProtocolError, connect
from hud.environment import Capability, Environment
from hud.runtimes.base import Runtime
from tests.wire.harness import DEADLINE_S, LIMIT, Place, Steps, own_tasks, until, waited

HELLO = b'{"jsonrpc":"2.0","id":1,"result":{"session_id":"s","env":{"name":"n","version":"1"},"bindings":[]}}\n'  # noqa: E501
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def behaving(behave: Behaviour) -> AsyncGenerator[Runtime]:
    """Listen on TCP and treat every connection as `behave` does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await behave(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Runtime(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()


def counting() -> Environment:
    env = Environment("counting", version="2")

    @env.template()
    async def count(to: int = 3) -> Steps:
        """Count up."""
        answer = yield {"prompt": f"count to {to}", "bindings": {"x": {"y": 1}}}
        yield {"score": 1.0 if answer == str(to) else 0.0, "content": "counted"}

    return env


async def test_a_client_drives_a_task_from_hello_to_grade(place: Place) -> None:
    url = await place.serve(counting())
    async with connect(Runtime(url)) as client:
        assert client.manifest is not None
        assert client.manifest.server_info.name == "counting"
        assert client.manifest.server_info.version == "2"
        assert [task["id"] for task in await client.list_tasks()] == ["count"]
        frame = await client.start_task("count", {"to": "4"})
        assert frame == {"prompt": "count to 4", "bindings": {"x": {"y": 1}}}
        assert await client.grade({"answer": "4"}) == {"score": 1.0, "content": "counted"}


async def test_an_error_names_its_code_boundary_and_hint(place: Place) -> None:
    async with connect(Runtime(await place.serve(counting()))) as client:
        with pytest.raises(HudProtocolError) as caught:
            await client.start_task("recount")

    assert caught.value.code == -32602
    assert caught.value.boundary == "environment"
    assert caught.value.hint == "its tasks: count"


async def test_a_client_may_wrap_asyncios_streams(tmp_path: Any) -> None:
    from hud.environment.server import bind

    async with bind(counting()) as url:
        host, port = url.removeprefix("tcp://").split(":")

        async def opened() -> HudClient:
            reader, writer = await asyncio.open_connection(host, int(port))
            return HudClient(reader, writer, endpoint=(host, int(port)))

        client = await opened()
        assert (await client.hello()).server_info.name == "counting"
        assert (await client.start_task("count"))["prompt"] == "count to 3"
        await client.close()


async def test_a_closed_client_leaves_its_task_parked_and_resumable(place: Place) -> None:
    url = await place.serve(counting())
    async with connect(Runtime(url)) as client:
        assert client.manifest is not None
        session = client.manifest.session_id
        await client.start_task("count")
    async with connect(Runtime(url)) as client:
        manifest = None
        while manifest is None:  # until the server has seen the hang-up
            with contextlib.suppress(HudProtocolError):
                manifest = await client.hello(session)
        assert manifest.session_id == session
        assert (await client.grade({"answer": "3"}))["score"] == 1.0


async def test_a_heartbeat_keeps_the_session_while_a_call_runs(place: Place) -> None:
    entered, release = asyncio.Event(), asyncio.Event()
    env = Environment("long")

    @env.template()
    async def long() -> Steps:
        yield "p"
        entered.set()
        await release.wait()
        yield 1.0

    async with connect(Runtime(await place.serve(env))) as client:
        assert client.manifest is not None
        session = client.manifest.session_id
        await client.start_task("long")
        grading = asyncio.create_task(client.grade({"answer": 1}))
        await waited(entered)
        client.start_heartbeat(0.001)
        for _ in range(3):
            assert (await client.hello(session)).session_id == session
        release.set()
        assert await grading == {"score": 1.0}


async def test_cancel_reaches_a_call_that_runs(place: Place) -> None:
    entered = asyncio.Event()
    env = Environment("long")

    @env.template()
    async def long() -> Steps:
        yield "p"
        entered.set()
        await asyncio.Event().wait()
        yield 1.0

    async with connect(Runtime(await place.serve(env))) as client:
        await client.start_task("long")
        grading = asyncio.create_task(client.grade({"answer": 1}))
        await waited(entered)
        await client.cancel()
        with pytest.raises(HudProtocolError, match="cancelled"):
            await grading
        await client.bye()
        async with asyncio.timeout(DEADLINE_S):
            await client.lost


async def test_a_request_over_the_limit_is_refused_here_and_the_session_goes_on(
    place: Place,
) -> None:
    async with connect(Runtime(await place.serve(counting()))) as client:
        await client.start_task("count")
        with pytest.raises(HudProtocolError, match="exceeds the limit"):
            await client.grade({"answer": "x" * LIMIT})
        with pytest.raises(HudProtocolError, match="cannot be sent"):
            await client.grade({"answer": object()})
        assert (await client.grade({"answer": "3"}))["score"] == 1.0


async def test_bindings_are_found_by_name_family_and_protocol(place: Place) -> None:
    rows = [
        Capability.ssh(url="127.0.0.1:2222", host_pubkey="k"),
        Capability.mcp(name="a", url="127.0.0.1:1"),
        Capability.mcp(name="b", url="127.0.0.1:2"),
    ]
    env = Environment("bound", capabilities=rows)
    async with connect(Runtime(await place.serve(env))) as client:
        for ref in ("shell", "ssh", "ssh/2"):
            row = client.binding(ref)
            assert row.name == "shell"
            assert row.params["host_pubkey"] == "k"
            assert row.url.startswith("ssh://127.0.0.1:")
            assert row.url != "ssh://127.0.0.1:2222"
        assert client.binding("b").name == "b"
        with pytest.raises(InputError, match=r"'mcp' matches 2 .*: a \(mcp/.*\), b \(mcp/"):
            client.binding("mcp")
        with pytest.raises(InputError, match="no capability 'cdp'"):
            client.binding("cdp")


async def test_connect_waits_until_somebody_serves(tmp_path: Any) -> None:
    from hud.environment.server import bind

    path = str(tmp_path / "late.sock")
    connecting = asyncio.create_task(_name_served_at(f"unix://{path}"))
    await asyncio.sleep(0)
    async with bind(counting(), path=path):
        async with asyncio.timeout(DEADLINE_S):
            assert await connecting == "counting"


async def _name_served_at(url: str) -> str:
    async with connect(Runtime(url)) as client:
        assert client.manifest is not None
        return client.manifest.server_info.name


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:1", "unix:///nowhere/at.all", "memory://nobody"])
async def test_nobody_answering_is_a_runtime_fault_that_says_where(url: str) -> None:
    with pytest.raises(RuntimeFault, match=url):
        await _name_served_at_within(url, 0.01)


async def _name_served_at_within(url: str, limit_s: float) -> None:
    async with connect(Runtime(url, {"ready_timeout": limit_s})):
        pass


@pytest.mark.parametrize(
    "url", ["", "localhost:1", "http://x:1", "tcp://", "tcp://h:x", "unix:", "tcp://[h"]
)
async def test_an_address_nobody_can_dial_is_refused_at_once(url: str) -> None:
    with pytest.raises(InputError, match="cannot be dialled"):
        await _name_served_at_within(url, 60)


async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    before = own_tasks()
    async with behaving(silent) as runtime:
        with pytest.raises(RuntimeFault, match="no environment answered"):
            await _name_served_at_within(runtime.url, 0.05)
    await until(lambda: own_tasks() <= before)


async def test_connect_tries_again_when_the_server_hangs_up_before_it_answers() -> None:
    dials = 0

    async def refuse_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dials
        dials += 1
        await reader.readline()
        if dials > 2:
            writer.write(HELLO)
            await reader.read()

    async with behaving(refuse_twice) as runtime, connect(runtime) as client:
        assert client.manifest is not None
        assert client.manifest.session_id == "s"
    assert dials == 3


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"[]\n",
        b'{"jsonrpc":"2.0","id":1,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":1,"result":{"session_id":4,"env":{}}}\n',
        b'{"jsonrpc":"2.0","id":1,"result":{"session_id":"\xff","env":{"name":"n"}}}\n',
        b'{"jsonrpc":"2.0","id":1}\n',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}\n',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"what?"}}\n',
        b"x" * (LIMIT + 1),
    ],
    ids=["http", "array", "empty", "types", "utf8", "neither", "error", "about nothing", "long"],
)
async def test_what_is_no_environment_is_refused_at_once(greeting: bytes) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()

    async with behaving(greet) as runtime:
        with pytest.raises(EnvironmentFault, match="refused the handshake"):
            await _name_served_at_within(runtime.url, 60)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"", RuntimeFault),
        (b'{"jsonrpc":"2.0","id":2,"resu', RuntimeFault),
        (b"garbage\n", HudProtocolError),
        (b"x" * (LIMIT + 1), HudProtocolError),
        (b'{"jsonrpc":"2.0","id":2,"result":[1]}\n', HudProtocolError),
        (b'{"jsonrpc":"2.0","id":2}\n', HudProtocolError),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}\n', HudProtocolError),
        (b'{"jsonrpc":"2.0","id":2,"error":{}}\n', HudProtocolError),
        (b'{"jsonrpc":"2.0","id":2,"result":{"tasks":"\xff"}}\n', HudProtocolError),
    ],
    ids=["end", "half", "garbage", "long", "array", "neither", "about nothing", "bare", "utf8"],
)
async def test_a_call_never_hangs_on_what_is_no_reply(reply: bytes, error: type[Exception]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(HELLO)
        await reader.readline()
        writer.write(reply)

    before = own_tasks()
    async with behaving(answer) as runtime:
        async with connect(runtime) as client:
            async with asyncio.timeout(DEADLINE_S):
                with pytest.raises(error):
                    await client.list_tasks()
        await until(lambda: own_tasks() <= before)


async def test_calls_after_the_end_fail_and_say_so() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(HELLO)

    async with behaving(hang_up) as runtime, connect(runtime) as client:
        async with asyncio.timeout(DEADLINE_S):
            await client.lost
        with pytest.raises(RuntimeFault, match="closed the connection"):
            await client.list_tasks()


async def test_replies_are_matched_by_id_whatever_their_order() -> None:
    async def reversed_replies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(HELLO)
        await reader.readline()
        await reader.readline()
        writer.write(b'{"jsonrpc":"2.0","method":"progress","params":{}}\n')
        writer.write(b'{"jsonrpc":"2.0","id":99,"result":{}}\n')
        writer.write(b'{"jsonrpc":"2.0","id":3,"result":{"score":0.5}}\n')
        writer.write(b'{"jsonrpc":"2.0","id":2,"result":{"tasks":[{"id":"a"}]}}\n')
        await reader.read()

    async with behaving(reversed_replies) as runtime, connect(runtime) as client:
        listing = asyncio.create_task(client.list_tasks())
        await asyncio.sleep(0)
        assert await client.grade({"answer": 1}) == {"score": 0.5}
        assert await listing == [{"id": "a"}]


async def test_python_flavoured_json_from_an_environment_is_read() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(HELLO)
        await reader.readline()
        writer.write(b'{"jsonrpc":"2.0","id":2,"result":{"score":1.0,"info":{"loss":NaN}}}\n')
        await reader.read()

    async with behaving(answer) as runtime, connect(runtime) as client:
        assert await client.grade({"answer": 1}) == {"score": 1.0, "info": {"loss": None}}
