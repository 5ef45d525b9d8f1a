"""Functions as MCP tools: what models see, what they get back, and what hostile clients get."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any

import mcp.types as wire
import pytest
from pydantic import BaseModel

from hud._core.errors import CapabilityFault, InputError
from hud.environment import tools, tools_http, tools_results
from hud.environment.tools import ToolServer
from hud.environment.tools_function import ToolFunction
from hud.environment.tools_results import result_of
from hud.trace.content import ImageContent, MCPToolResult, TextContent
from tests.needs import need_module
from tests.wire.harness import DEADLINE_S, own_tasks, until

PNG = b"\x89PNG\r\n\x1a\n rest"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "tests", "version": "1"},
    },
}


class Point(BaseModel):
    x: int
    y: float = 0.5


@dataclasses.dataclass
class Size:
    width: int


def text_of(result: wire.CallToolResult) -> str:
    return "".join(block.text for block in result.content if isinstance(block, wire.TextContent))


async def called(fn: Any, arguments: dict[str, Any] | None = None) -> wire.CallToolResult:
    function = ToolFunction(fn, name="it")
    async with asyncio.timeout(DEADLINE_S):
        return await function.call(arguments or {}, asyncio.Semaphore(4))


# What models see.


def test_a_function_is_shown_by_its_name_docstring_and_annotations() -> None:
    def look_up(city: str, days: int = 3, spot: Point | None = None) -> str:
        """Look the weather up.

        In a book.
        """
        return city

    shown = ToolFunction(look_up).definition()
    assert shown.name == "look_up"
    assert shown.description == "Look the weather up.\n\nIn a book."
    assert shown.input_schema["required"] == ["city"]
    assert shown.input_schema["properties"]["days"]["default"] == 3
    assert shown.input_schema["properties"]["days"]["type"] == "integer"
    assert "Point" in shown.input_schema["$defs"]
    named = ToolFunction(look_up, name="weather", description="Ask.").definition()
    assert (named.name, named.description) == ("weather", "Ask.")


async def test_methods_and_callable_objects_are_tools_too() -> None:
    class Counter:
        def __init__(self) -> None:
            self.total = 0

        def more(self, by: int) -> int:
            self.total += by
            return self.total

        async def __call__(self, by: int) -> int:
            return self.more(by)

    counter = Counter()
    assert list(ToolFunction(counter.more).definition().input_schema["properties"]) == ["by"]
    assert text_of(await called(counter.more, {"by": 2})) == "2"
    assert text_of(await called(counter, {"by": 2})) == "4"


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


def many(*values: int) -> None: ...


def by_place(value: int, /) -> None: ...


@pytest.mark.parametrize("fn", [Point, generator, async_generator, many, by_place, 7])
def test_what_cannot_be_a_tool_is_refused_where_it_is_declared(fn: Any) -> None:
    with pytest.raises(TypeError):
        ToolServer().add(fn, name="it")


@pytest.mark.parametrize("name", ["two words", "ö", "x" * 65, "<lambda>", "a.b", "a\n"])
def test_a_name_that_models_cannot_call_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name for a tool"):
        ToolServer().add(lambda: 1, name=name)


def test_two_tools_of_one_name_are_refused() -> None:
    server = ToolServer()

    def look() -> None: ...

    assert server.add(look) is look
    with pytest.raises(ValueError, match="two tools 'look'"):
        server.add(look)
    server.remove("look")
    server.add(look)
    assert server.tools == ["look"]


async def test_an_annotation_that_means_nothing_is_found_when_the_server_starts() -> None:
    server = ToolServer()

    def look(at: Unheard) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    server.add(look)  # pyright: ignore[reportUnknownArgumentType]
    with pytest.raises(CapabilityFault, match=r"look: .*Unheard"):
        await server.start()
    await server.stop()


# What models get back.


@pytest.mark.parametrize(
    ("value", "text", "structure"),
    [
        ("plain", "plain", None),
        (None, "", None),
        (7, "7", None),
        (True, "true", None),
        (float("nan"), "null", None),
        ([1, "two"], '[1,"two"]', None),
        ({"a": float("inf"), 1: b"x"}, '{"a":null,"1":"x"}', {"a": None, "1": "x"}),
        (Point(x=1), '{"x":1,"y":0.5}', {"x": 1, "y": 0.5}),
        (Size(3), '{"width":3}', {"width": 3}),
        ("half \ud83d", "half ?", None),
        ((), "[]", None),
    ],
)
def test_a_value_becomes_text_and_an_object_structure_too(
    value: Any, text: str, structure: Any
) -> None:
    result = result_of("it", value)
    assert (text_of(result), result.structured_content) == (text, structure)
    assert not result.is_error


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0 rest", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"GIF89a rest", "image/gif"),
    ],
)
def test_bytes_of_an_image_become_an_image(data: bytes, mime: str) -> None:
    (block,) = result_of("it", data).content
    assert isinstance(block, wire.ImageContent)
    assert block.mime_type == mime


def test_other_bytes_become_a_sound_or_a_file() -> None:
    (sound,) = result_of("it", bytearray(b"RIFF\x00\x00\x00\x00WAVEfmt ")).content
    assert isinstance(sound, wire.AudioContent)
    (file,) = result_of("it", memoryview(b"\x00\x01")).content
    assert isinstance(file, wire.EmbeddedResource)
    assert isinstance(file.resource, wire.BlobResourceContents)
    assert file.resource.blob == "AAE="


def test_a_pillow_image_becomes_a_png() -> None:
    image = need_module("PIL.Image").new("RGB", (2, 2), "red")
    (block,) = result_of("it", image).content
    assert isinstance(block, wire.ImageContent)
    assert block.mime_type == "image/png"
    refused = result_of("it", need_module("PIL.Image").new("F", (2, 2)))
    assert refused.is_error
    assert "cannot be sent" in text_of(refused)


def test_a_list_with_an_image_is_unrolled_and_content_passes_through() -> None:
    ours = ImageContent(data="AA==", mimeType="image/png")
    theirs = wire.TextContent(type="text", text="theirs")
    blocks = result_of("it", ["one", PNG, Point(x=1), ours, theirs]).content
    assert [block.type for block in blocks] == ["text", "image", "text", "image", "text"]
    whole = result_of("it", MCPToolResult(content=[TextContent(text="no")], isError=True))
    assert whole.is_error
    assert text_of(whole) == "no"
    assert result_of("it", wire.CallToolResult(content=[theirs])).content == [theirs]


def test_a_result_larger_than_allowed_is_an_error_that_says_its_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tools_results, "MAX_RESULT_BYTES", 1 << 20)
    for value in ("ü" * (1 << 20), {"a": "x" * (1 << 20)}, PNG * (1 << 20)):
        result = result_of("it", value)
        assert result.is_error
        assert "more than the 1 MiB allowed" in text_of(result)


def test_a_value_that_refers_to_itself_is_an_error() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert result_of("it", loop).is_error


async def test_an_exception_becomes_its_message_without_traceback_or_secret() -> None:
    def fails() -> None:
        raise ValueError("the key is sk-abcdefghijklmnopqrstuvwxyz")

    result = await called(fails)
    assert result.is_error
    assert text_of(result) == "ValueError: the key is [redacted]"

    async def hints() -> None:
        raise InputError("no such file", hint="list the folder")

    assert text_of(await called(hints)) == "no such file (list the folder)"

    def long() -> None:
        raise RuntimeError("x" * 100_000)

    assert len(text_of(await called(long))) <= 4_000


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), StopIteration(1)])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_would_end_a_program_ends_only_the_call(error: BaseException, kind: str) -> None:
    def sync() -> None:
        raise error

    async def not_sync() -> None:
        raise error

    result = await called(sync if kind == "sync" else not_sync)
    assert result.is_error
    assert text_of(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "missing argument 'x'"),
        ({"x": "one"}, "argument 'x' = one: "),
        ({"x": 1, "z": 1}, "unknown argument 'z' (known arguments: x, at)"),
        ({"x": 1, "at": {"y": 1}}, "argument 'at'"),
    ],
)
async def test_wrong_arguments_are_a_result_that_says_what_is_wrong(
    arguments: dict[str, Any], message: str
) -> None:
    def place(x: int, at: Point | None = None) -> None: ...

    result = await called(place, arguments)
    assert result.is_error
    assert text_of(result).startswith(message)


async def test_arguments_reach_the_function_as_annotated() -> None:
    def place(x: int, at: Point) -> str:
        assert isinstance(at, Point)
        return f"{x + 1} {at.x}"

    assert text_of(await called(place, {"x": "1", "at": {"x": 2}})) == "2 2"
    assert text_of(await called(place, {"x": 1, "at": '{"x": 2}'})) == "2 2"


async def test_a_sync_function_runs_in_a_thread_under_the_context_of_its_call() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    go = threading.Event()

    def waits() -> str:
        assert threading.current_thread() is not threading.main_thread()
        assert go.wait(DEADLINE_S)
        return variable.get()

    variable.set("set")
    call = asyncio.create_task(called(waits))
    await asyncio.sleep(0)
    go.set()  # the loop was free to do this while the function waited
    assert text_of(await call) == "set"


async def test_a_sync_function_that_was_left_behind_counts_until_it_ends() -> None:
    go, threads = threading.Event(), asyncio.Semaphore(1)
    function = ToolFunction(lambda: go.wait(DEADLINE_S), name="it")
    abandoned = asyncio.create_task(function.call({}, threads))
    await until(threads.locked)
    abandoned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    assert threads.locked()
    go.set()
    async with asyncio.timeout(DEADLINE_S):
        assert text_of(await function.call({}, threads)) == "true"


async def test_a_sync_function_that_returns_a_coroutine_is_told_so() -> None:
    async def inner() -> None: ...

    result = await called(lambda: inner())  # noqa: PLW0108 -- that is the mistake

    assert result.is_error
    assert "async def" in text_of(result)


# Serving.


class Raw:
    """One connection to a tool server, by hand."""

    def __init__(
        self, server: ToolServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.token: str = server.capability().params["auth_token"]
        self.reader = reader
        self.writer = writer

    def post(self, body: bytes, *headers: str, token: str | None = None) -> None:
        self.head("POST /mcp", f"content-length: {len(body)}", *headers, token=token)
        self.writer.write(body)

    def head(self, line: str, *headers: str, token: str | None = None) -> None:
        lines = [
            f"{line} HTTP/1.1",
            "host: x",
            "accept: application/json, text/event-stream",
            "content-type: application/json",
            f"authorization: Bearer {self.token if token is None else token}",
            *headers,
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    async def status(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            return int((await self.reader.readline()).split()[1])


@contextlib.asynccontextmanager
async def raw(server: ToolServer) -> AsyncGenerator[Raw]:
    reader, writer = await asyncio.open_connection(sock=await server.dial())
    try:
        yield Raw(server, reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
async def server() -> AsyncGenerator[ToolServer]:
    server = ToolServer()
    server.add(lambda: "hello", name="greet")
    await server.start()
    yield server
    async with asyncio.timeout(DEADLINE_S):
        await server.stop()


def listening() -> int:
    """Count this process's sockets that accept connections."""
    count = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            with socket.socket(fileno=os.dup(int(name))) as found:
                count += found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            continue
    return count


async def test_it_answers_on_what_it_dials_and_opens_no_port(server: ToolServer) -> None:
    async with raw(server) as client:
        client.post(json.dumps(HELLO).encode())
        assert await client.status() == 200
        assert listening() == 0
    row = server.capability()
    assert (row.name, row.protocol) == ("tools", "mcp/2025-11-25")
    assert row.address is not None
    assert row.url.endswith("/mcp")


async def test_its_token_is_new_for_every_start_and_redacted_everywhere(
    server: ToolServer,
) -> None:
    from hud._core.redact import redact

    first: str = server.capability().params["auth_token"]
    assert first not in redact(f"the token is {first}.")
    await server.stop()
    await server.start()
    assert server.capability().params["auth_token"] != first


async def test_without_a_start_there_is_nothing_to_reach(server: ToolServer) -> None:
    await server.stop()
    await server.stop()
    with pytest.raises(CapabilityFault, match="not started"):
        server.capability()
    with pytest.raises(CapabilityFault, match="not started"):
        await server.dial()
    await ToolServer().stop()


@pytest.mark.parametrize("token", ["", "x", "Bearer", "ü"])
async def test_nobody_is_heard_without_the_token(server: ToolServer, token: str) -> None:
    async with raw(server) as client:
        client.post(json.dumps(HELLO).encode(), token=token)
        assert await client.status() == 401


async def test_other_paths_and_methods_lead_nowhere(server: ToolServer) -> None:
    for line in ("GET /", "POST /mcp/../x", "GET /metrics", "POST //mcp"):
        async with raw(server) as client:
            client.head(line, "content-length: 0")
            assert await client.status() == 404
    async with raw(server) as client:
        client.head("PUT /mcp", "content-length: 0")
        assert await client.status() in (400, 405)


async def test_a_body_that_is_too_large_is_refused_declared_or_not(server: ToolServer) -> None:
    async with raw(server) as client:
        client.head("POST /mcp", f"content-length: {1 << 40}")
        assert await client.status() == 413
    async with raw(server) as client:
        client.head("POST /mcp", "transfer-encoding: chunked")
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        for _ in range(tools_http.MAX_BODY_BYTES // 65536 + 2):
            client.writer.write(piece)
        assert await client.status() == 413


async def test_a_body_that_does_not_come_is_not_waited_for(
    server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools_http, "BODY_TIMEOUT_S", 0.05)
    async with raw(server) as client:
        client.head("POST /mcp", "content-length: 10")
        assert await client.status() == 408


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b"[]", b"{}", b"7", b'{"jsonrpc":"2.0"}', b"[" * 100_000, b"\xff\xfe\x00"],
)
async def test_a_body_that_is_no_message_is_refused_and_harms_nobody(
    server: ToolServer, body: bytes
) -> None:
    async with raw(server) as client, raw(server) as other:
        client.post(body)
        assert 400 <= await client.status() < 500
        other.post(json.dumps(HELLO).encode())
        assert await other.status() == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        b"POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b'{"jsonrpc":"2.0","id":1,"method":"tasks.grade","params":{"answer":"yes"}}\n\r\n\r\n',
    ],
    ids=["binary", "headers", "negative", "ambiguous", "control frame"],
)
async def test_what_is_no_request_is_refused(server: ToolServer, sent: bytes) -> None:
    async with raw(server) as client:
        client.writer.write(sent)
        assert await client.status() == 400


async def test_connections_are_bounded_and_come_back(
    server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools_http, "MAX_CONNECTIONS", 2)
    async with raw(server) as client, raw(server):
        with pytest.raises(CapabilityFault, match="2 connections"):
            await server.dial()
        client.writer.close()
        assert await client.reader.read() == b""
    async with raw(server) as client:
        client.post(json.dumps(HELLO).encode())
        assert await client.status() == 200


async def test_between_episodes_nobody_may_connect_and_connections_are_cut(
    server: ToolServer,
) -> None:
    async with raw(server) as client:
        client.post(json.dumps(HELLO).encode())
        assert await client.status() == 200
        await server.end_episode()
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                await client.reader.read()
        with pytest.raises(CapabilityFault, match="over"):
            await server.dial()
        await server.begin_episode()
        await server.hand_over()
    async with raw(server) as client:
        client.post(json.dumps(HELLO).encode())
        assert await client.status() == 200


async def test_an_episode_that_ends_leaves_the_connections_of_others_alone(
    server: ToolServer,
) -> None:
    async with raw(server) as client:
        await server.begin_episode()
        await server.end_episode()
        client.post(json.dumps(HELLO).encode())
        assert await client.status() == 200
        await server.end_episode()
        with pytest.raises(CapabilityFault, match="over"):
            await server.dial()


async def test_stopping_is_prompt_while_a_stream_is_open_and_a_thread_works() -> None:
    go, begun = threading.Event(), asyncio.Event()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = ToolServer()

    @server.add
    def works() -> None:
        loop.call_soon_threadsafe(begun.set)
        go.wait(DEADLINE_S)

    @server.add
    async def waits() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    assert server.tools == ["works", "waits"]
    await server.start()
    try:
        async with raw(server) as first, raw(server) as second, asyncio.timeout(DEADLINE_S):
            first.post(json.dumps(HELLO).encode())
            head = await first.reader.readuntil(b"\r\n\r\n")
            session = next(
                line for line in head.decode().split("\r\n") if line.startswith("mcp-session-id")
            )
            for client, name in ((first, "works"), (second, "waits")):
                call: dict[str, Any] = {
                    "method": "tools/call",
                    "params": {"name": name, "arguments": {}},
                }
                begun.clear()
                client.post(json.dumps({"jsonrpc": "2.0", "id": name, **call}).encode(), session)
                await begun.wait()
            await server.stop()
            assert ended.is_set()
            assert not [task for task in own_tasks() if "tool server" in task.get_name()]
    finally:
        go.set()


async def test_calls_that_run_at_once_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "MAX_CALLS", 2)
    gate = asyncio.Event()
    running = 0
    server = ToolServer()

    @server.add
    async def works() -> None:
        nonlocal running
        running += 1
        assert running <= 2
        await gate.wait()
        running -= 1

    assert server.tools == ["works"]
    request: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    body = json.dumps({**request, "params": {"name": "works", "arguments": {}}}).encode()
    await server.start()
    try:
        async with contextlib.AsyncExitStack() as stack, asyncio.timeout(DEADLINE_S):
            clients = [await stack.enter_async_context(raw(server)) for _ in range(6)]
            for client in clients:
                client.post(json.dumps(HELLO).encode())
                head = (await client.reader.readuntil(b"\r\n\r\n")).decode()
                await client.reader.readuntil(b"0\r\n\r\n")
                session = next(line for line in head.split("\r\n") if "mcp-session" in line)
                client.post(body, session)
                # The head of the answer is sent when the call is taken on.
                assert await client.status() == 200
            await until(lambda: running == 2)
            gate.set()
            for client in clients:
                assert b'"isError":false' in await client.reader.readuntil(b"0\r\n\r\n")
    finally:
        await server.stop()


def test_a_process_that_declared_tools_can_be_forked_and_serve_them_afterwards() -> None:
    program = """
import asyncio, os, sys
from hud.environment.tools import ToolServer
from hud.runtimes.warm.safety import why_unsafe

server = ToolServer()
server.add(lambda: "hello", name="greet")
print(why_unsafe([]), flush=True)

async def main():
    await server.start()
    reader, writer = await asyncio.open_connection(sock=await server.dial())
    token = server.capability().params["auth_token"]
    body = sys.argv[1].encode()
    writer.write(
        f"POST /mcp HTTP/1.1\\r\\nhost: x\\r\\nauthorization: Bearer {token}\\r\\n"
        "accept: application/json, text/event-stream\\r\\ncontent-type: application/json\\r\\n"
        f"content-length: {len(body)}\\r\\n\\r\\n".encode() + body
    )
    print((await reader.readline()).decode().strip(), flush=True)
    writer.close()
    await server.stop()

for _ in range(2):
    pid = os.fork()
    if pid == 0:
        asyncio.run(main())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, json.dumps(HELLO)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["None", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK"]
