"""`MCPClient` on servers started by hand, over each transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud._core.errors import CapabilityFault, InputError
from hud.capabilities import mcp_transport
from hud.capabilities.mcp import MCPClient
from hud.protocol.capability import Capability
from hud.trace.content import ImageContent, MCPToolResult, TextContent
from hud.trace.context import trace_context
from hud.trace.recorder import Recorder
from hud.trace.steps import Trace
from tests.conformance.daemons.mcp import DEADLINE_S, TOKEN, McpServer, Transport, mcp_server
from tests.wire.harness import until

TRANSPORTS: tuple[Transport, ...] = ("streamable-http", "sse", "websocket")
TOOLS = ["add", "fails", "picture", "text", "waits", "dies", "unlock", "told"]


@pytest.fixture(params=TRANSPORTS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[McpServer]:
    async with mcp_server(tmp_path, request.param) as running:
        yield running


@pytest.fixture
async def client(server: McpServer) -> AsyncGenerator[MCPClient]:
    async with await MCPClient.connect(server.row) as connected:
        yield connected


def text_of(result: MCPToolResult) -> str:
    assert all(isinstance(block, TextContent) for block in result.content), result
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


async def works(client: MCPClient) -> None:
    assert (await client.call_tool("add", {"a": 40})).structuredContent == {"sum": 42}


async def test_tools_are_listed_with_their_schemas(client: MCPClient) -> None:
    tools = await client.list_tools()
    assert [tool.name for tool in tools] == TOOLS
    assert tools[0].description == "Add two numbers."
    assert set(tools[0].inputSchema["properties"]) == {"a", "b"}


async def test_results_keep_text_structure_and_images(client: MCPClient) -> None:
    added = await client.call_tool("add", {"a": 1, "b": 2})
    assert added.structuredContent == {"sum": 3}
    assert "3" in text_of(added)
    assert not added.isError
    (picture,) = (await client.call_tool("picture")).content
    assert isinstance(picture, ImageContent)
    assert (picture.mimeType, picture.data) == ("image/png", "iVBORw0KGgox")


async def test_what_a_model_gets_wrong_is_a_result_that_says_so(client: MCPClient) -> None:
    failed = await client.call_tool("fails")
    assert failed.isError
    assert "the reason" in text_of(failed)
    for name, arguments in (("nothing", {}), ("add", {"a": "no number"})):
        wrong = await client.call_tool(name, arguments)
        assert wrong.isError
        assert text_of(wrong)
    await works(client)


async def test_a_cancelled_call_is_cancelled_on_the_server(
    client: MCPClient, server: McpServer
) -> None:
    call = asyncio.create_task(client.call_tool("waits"))
    await server.noted("began")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await server.noted("cancelled")
    await works(client)


async def test_a_time_limit_that_passes_is_a_result_and_ends_the_tool(
    client: MCPClient, server: McpServer
) -> None:
    result = await client.call_tool("waits", timeout_s=2)
    assert result.isError
    assert text_of(result) == "tool 'waits' gave no answer within 2 s"
    await server.noted("cancelled")
    await works(client)


async def test_a_server_that_dies_in_a_call_is_a_fault_and_so_is_every_later_call(
    client: MCPClient,
) -> None:
    other = asyncio.create_task(client.call_tool("waits"))
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(CapabilityFault, match="capability 'tools'"):
            await client.call_tool("dies")
        with pytest.raises(CapabilityFault):
            await other
        with pytest.raises(CapabilityFault):
            await client.call_tool("add", {"a": 1})
        with pytest.raises(CapabilityFault):
            await client.list_tools()
        await client.close()
        await client.close()


async def test_a_server_that_was_killed_between_calls_is_a_fault(
    client: MCPClient, server: McpServer
) -> None:
    await server.killed()
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(CapabilityFault):
            await client.call_tool("add", {"a": 1})


async def test_calls_overlap(client: MCPClient, server: McpServer) -> None:
    waiting = asyncio.create_task(client.call_tool("waits"))
    await server.noted("began")
    sums = await asyncio.gather(*(client.call_tool("add", {"a": n}) for n in range(20)))
    assert [result.structuredContent for result in sums] == [{"sum": n + 2} for n in range(20)]
    waiting.cancel()


async def test_a_list_that_changes_is_noticed_and_listed_again(client: MCPClient) -> None:
    await client.list_tools()
    assert not client.has_new_tools
    await client.call_tool("unlock")
    await until(lambda: client.has_new_tools)
    assert [tool.name for tool in await client.list_tools()] == [*TOOLS, "unlocked"]
    assert not client.has_new_tools


async def test_resources_and_prompts_are_read(client: MCPClient) -> None:
    assert [found.uri for found in await client.list_resources()] == ["data://greeting"]
    (content,) = await client.read_resource("data://greeting")
    assert content.resource["text"] == "hello"
    with pytest.raises(InputError, match="data://other"):
        await client.read_resource("data://other")
    assert [found.name for found in await client.list_prompts()] == ["ask"]
    (message,) = await client.get_prompt("ask", {"what": "this"})
    assert message.content == TextContent(text="What is this?")


async def test_the_server_learns_which_trace_a_call_belongs_to(client: MCPClient) -> None:
    with trace_context(Recorder(Trace(trace_id="the-trace"))):
        assert text_of(await client.call_tool("told")) == "the-trace"


async def test_a_screenshot_of_some_megabytes_comes_through(client: MCPClient) -> None:
    size = 3 * 1024 * 1024
    assert len(text_of(await client.call_tool("text", {"size": size}))) == size


async def test_a_client_may_be_closed_in_another_task_while_a_call_waits(
    client: MCPClient, server: McpServer
) -> None:
    waiting = asyncio.create_task(client.call_tool("waits"))
    await server.noted("began")
    await asyncio.create_task(client.close())
    with pytest.raises(CapabilityFault):
        await waiting
    with pytest.raises(CapabilityFault, match="is closed"):
        await client.call_tool("add", {"a": 1})


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_bearer_token_opens_and_a_wrong_one_is_a_fault_that_keeps_it_secret(
    transport: Transport, tmp_path: Path
) -> None:
    async with mcp_server(tmp_path, transport, token=TOKEN) as server:
        async with await MCPClient.connect(server.row) as client:
            await works(client)
        wrong = Capability.mcp(url=server.row.url, transport=transport, auth_token="another-token")
        with pytest.raises(CapabilityFault) as caught:
            await MCPClient.connect(wrong)
        assert "another-token" not in f"{caught.value} {caught.value.hint}"


async def test_a_reply_larger_than_the_limit_is_a_result_and_the_client_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_transport, "MAX_MESSAGE_BYTES", 1 << 18)
    async with (
        mcp_server(tmp_path) as server,
        await MCPClient.connect(server.row) as client,
    ):
        result = await client.call_tool("text", {"size": 1 << 19})
        assert result.isError
        assert "larger" in text_of(result)
        await works(client)


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_where_replies_share_a_stream_one_that_is_too_large_ends_the_connection(
    transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_transport, "MAX_MESSAGE_BYTES", 1 << 18)
    async with (
        mcp_server(tmp_path, transport) as server,
        await MCPClient.connect(server.row) as client,
    ):
        with pytest.raises(CapabilityFault):
            await client.call_tool("text", {"size": 1 << 19})


async def test_a_connection_that_is_cancelled_leaves_nothing_behind() -> None:
    reached = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        for scheme in ("http", "ws"):
            reached.clear()
            before = asyncio.all_tasks()
            row = Capability.mcp(url=f"{scheme}://127.0.0.1:{port}/mcp")
            connecting = asyncio.create_task(MCPClient.connect(row))
            await reached.wait()
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            left = {task.get_name() for task in asyncio.all_tasks() - before}
            assert not [name for name in left if name.startswith("mcp")]


async def test_the_published_sdk_s_websocket_server_is_driven(
    tmp_path: Path, peer_python: Path
) -> None:
    program = """
import asyncio, socket, sys
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.websocket import websocket_server
import mcp.types as t

server = Server("first generation")

@server.list_tools()
async def tools():
    return [t.Tool(name="add", inputSchema={"type": "object"})]

@server.call_tool()
async def call(name, arguments):
    return {"sum": arguments["a"] + 2}

async def app(scope, receive, send):
    async with websocket_server(scope, receive, send) as (read, write):
        await server.run(read, write, server.create_initialization_options())

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(app, log_level="critical", lifespan="off")
asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
"""
    async with (
        mcp_server(tmp_path, "websocket", python=peer_python, program=program) as server,
        await MCPClient.connect(server.row) as client,
    ):
        assert [tool.name for tool in await client.list_tools()] == ["add"]
        await works(client)
