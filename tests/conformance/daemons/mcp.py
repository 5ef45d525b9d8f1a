"""MCP servers started by hand, as anybody may have one running, for tests of the mcp client.

FastMCP serves streamable HTTP and SSE; nobody serves WebSocket any more, so there the official
SDK's server runs behind a socket of the `websockets` package.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hud.capabilities.mcp import MCPClient
from hud.protocol.capability import Capability
from tests.conformance.subject import Subject
from tests.needs import need_module

Transport = Literal["streamable-http", "sse", "websocket"]

DEADLINE_S = 60.0
TOKEN = "a-token-of-the-tests"

_HTTP = '''
import asyncio, base64, os, socket, sys
import mcp_types, uvicorn
from fastmcp import Context, FastMCP
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.utilities.types import Image

transport, token, folder = sys.argv[1:]
auth = StaticTokenVerifier({token: {"client_id": "tests", "scopes": []}}) if token else None
server = FastMCP("by hand", auth=auth)

def note(text):
    with open(os.path.join(folder, "notes"), "a") as file:
        file.write(text + "\\n")

@server.tool
def add(a: int, b: int = 2) -> dict[str, int]:
    """Add two numbers."""
    return {"sum": a + b}

@server.tool
def fails() -> str:
    raise ValueError("the reason")

@server.tool
def picture() -> Image:
    return Image(data=b"\\x89PNG\\r\\n\\x1a\\n1", format="png")

@server.tool
def text(size: int) -> str:
    return "x" * size

@server.tool
async def waits() -> str:
    note("began")
    try:
        await asyncio.sleep(3600)
    finally:
        note("cancelled")

@server.tool
def dies() -> str:
    os._exit(3)

@server.tool
async def unlock(ctx: Context) -> str:
    @server.tool
    def unlocked() -> str:
        return "open"

    await ctx.send_notification(mcp_types.ToolListChangedNotification())
    return "unlocked"

@server.tool
async def told(ctx: Context) -> str:
    return str((ctx.request_context.meta or {}).get("hud/trace-id"))

@server.resource("data://greeting")
def greeting() -> str:
    return "hello"

@server.prompt
def ask(what: str) -> str:
    return f"What is {what}?"

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
app = server.http_app(path="/mcp", transport=transport)
config = uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=1)
asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
'''

_WEBSOCKET = """
import asyncio, os, sys
import anyio, mcp.types as t, websockets
from mcp.server.lowlevel.server import Server
from mcp.shared.message import SessionMessage

_, token, folder = sys.argv[1:]
NUMBERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
DESCRIBED = {"add": "Add two numbers."}
names = ["add", "fails", "picture", "text", "waits", "dies", "unlock", "told"]

def note(text):
    with open(os.path.join(folder, "notes"), "a") as file:
        file.write(text + "\\n")

def result(text, **more):
    return t.CallToolResult(content=[t.TextContent(type="text", text=text)], **more)

async def list_tools(ctx, params):
    return t.ListToolsResult(tools=[
        t.Tool(name=name, description=DESCRIBED.get(name), input_schema=NUMBERS) for name in names
    ])

async def call_tool(ctx, params):
    given = params.arguments or {}
    match params.name:
        case "add":
            if not isinstance(given.get("a"), int):
                raise ValueError("a is no number")
            total = given["a"] + given.get("b", 2)
            return result(str(total), structured_content={"sum": total})
        case "fails":
            return result("the reason", is_error=True)
        case "picture":
            image = t.ImageContent(type="image", data="iVBORw0KGgox", mime_type="image/png")
            return t.CallToolResult(content=[image])
        case "text":
            return result("x" * given["size"])
        case "waits":
            note("began")
            try:
                await asyncio.sleep(3600)
            finally:
                note("cancelled")
        case "dies":
            os._exit(3)
        case "unlock":
            names.append("unlocked")
            await ctx.session.send_tool_list_changed()
            return result("unlocked")
        case "told":
            return result(str((ctx.meta or {}).get("hud/trace-id")))
    raise t_error(params.name)

def t_error(name):
    from mcp.shared.exceptions import MCPError
    return MCPError(t.INVALID_PARAMS, f"Unknown tool: {name}")

async def list_resources(ctx, params):
    return t.ListResourcesResult(resources=[t.Resource(name="greeting", uri="data://greeting")])

async def read_resource(ctx, params):
    if params.uri != "data://greeting":
        raise t_error(params.uri)
    return t.ReadResourceResult(contents=[t.TextResourceContents(uri=params.uri, text="hello")])

async def list_prompts(ctx, params):
    return t.ListPromptsResult(prompts=[t.Prompt(name="ask")])

async def get_prompt(ctx, params):
    text = t.TextContent(type="text", text=f"What is {params.arguments['what']}?")
    return t.GetPromptResult(messages=[t.PromptMessage(role="user", content=text)])

server = Server("by hand", on_list_tools=list_tools, on_call_tool=call_tool,
                on_list_resources=list_resources, on_read_resource=read_resource,
                on_list_prompts=list_prompts, on_get_prompt=get_prompt)

async def serve(socket):
    if token and socket.request.headers.get("authorization") != f"Bearer {token}":
        await socket.close(1008)
        return
    received, incoming = anyio.create_memory_object_stream(0)
    outgoing, sent = anyio.create_memory_object_stream(0)

    async def read():
        async with received:
            async for frame in socket:
                await received.send(SessionMessage(t.jsonrpc_message_adapter.validate_json(frame)))

    async def write():
        async for one in sent:
            await socket.send(one.message.model_dump_json(by_alias=True, exclude_unset=True))

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        group.start_soon(write)
        await server.run(incoming, outgoing, server.create_initialization_options())
        group.cancel_scope.cancel()

async def main():
    async with websockets.serve(
        serve, "127.0.0.1", 0, subprotocols=["mcp"], max_size=None, compression=None
    ) as listening:
        print(listening.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


@dataclass(frozen=True)
class McpServer:
    """A running server.

    Attributes:
        row: How it is reached.
        process: It, the leader of a group of its own.
    """

    row: Capability
    process: asyncio.subprocess.Process
    folder: Path

    def kill(self) -> None:
        """Kill it, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def killed(self) -> None:
        """Kill it and wait until it is gone."""
        self.kill()
        await self.process.wait()

    async def noted(self, word: str) -> None:
        """Wait until a tool has written that word down."""
        notes = self.folder / "notes"
        async with asyncio.timeout(DEADLINE_S):
            # Another process writes them, so there is no event to wait for.
            while not (notes.exists() and word in notes.read_text().split()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def mcp_server(
    folder: Path,
    transport: Transport = "streamable-http",
    *,
    token: str = "",
    python: Path | str = sys.executable,
    program: str | None = None,
) -> AsyncGenerator[McpServer]:
    """Run a server in a process of its own; its tools write notes into `folder`."""
    need_module("websockets" if transport == "websocket" else "fastmcp")
    path = folder / f"{transport}.py"
    path.write_text(program or (_WEBSOCKET if transport == "websocket" else _HTTP))
    with (folder / "errors").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            python,
            path,
            transport,
            token,
            folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            line = await process.stdout.readline()
        assert line.strip().isdigit(), (folder / "errors").read_text()[-2000:]
        scheme = "ws" if transport == "websocket" else "http"
        url = f"{scheme}://127.0.0.1:{int(line)}/mcp"
        row = Capability.mcp(url=url, transport=transport, auth_token=token or None)
        yield McpServer(row, process, folder)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def _use(client: MCPClient) -> None:
    assert (await client.call_tool("add", {"a": 40})).structuredContent == {"sum": 42}
    assert "add" in [tool.name for tool in await client.list_tools()]


@contextlib.asynccontextmanager
async def _served(folder: Path, transport: Transport) -> AsyncGenerator[Subject[MCPClient]]:
    async with mcp_server(folder, transport, token=TOKEN) as server:
        yield Subject(MCPClient, server.row, _use, server.killed)


@contextlib.asynccontextmanager
async def serve(folder: Path) -> AsyncGenerator[Subject[MCPClient]]:
    async with _served(folder, "streamable-http") as subject:
        yield subject


@contextlib.asynccontextmanager
async def serve_sse(folder: Path) -> AsyncGenerator[Subject[MCPClient]]:
    async with _served(folder, "sse") as subject:
        yield subject


@contextlib.asynccontextmanager
async def serve_websocket(folder: Path) -> AsyncGenerator[Subject[MCPClient]]:
    async with _served(folder, "websocket") as subject:
        yield subject
