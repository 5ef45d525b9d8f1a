"""The server of tool functions: who is heard, what is bounded, how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from hud._core import http_sockets
from hud._core.errors import CapabilityFault
from hud._core.redact import redact
from hud.environment import tools, tools_http
from hud.environment.tools import ToolServer
from tests.wire.harness import DEADLINE_S, own_tasks, until

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
    monkeypatch.setattr(http_sockets, "MAX_CONNECTIONS", 2)
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
