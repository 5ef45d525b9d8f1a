"""Where the tools work in these tests: a served workspace, and a daemon started by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud import Environment
from hud.agents.run import Run
from hud.agents.tools.base import ToolContext
from hud.agents.types import ToolAgentConfig
from hud.capabilities import SSHClient
from hud.clients import connect
from hud.environment.server import bind
from hud.runtimes.base import Runtime
from hud.trace.content import MCPToolResult, TextContent
from tests.e2e.capabilities.sshd import DEADLINE_S, sshd
from tests.needs import need_program


@contextlib.asynccontextmanager
async def workspace(folder: Path) -> AsyncGenerator[SSHClient]:
    """Serve an environment with a workspace and yield its shell's client."""
    need_program("bwrap")
    (folder / "work").mkdir()
    env = Environment("worked")
    env.workspace(folder / "work")

    @env.template()
    async def work() -> AsyncGenerator[Any, Any]:
        yield "work"
        yield 1.0

    async with asyncio.timeout(4 * DEADLINE_S), bind(env) as url, connect(Runtime(url)) as client:
        await client.start_task("work")
        yield await client.open("ssh", SSHClient)


@contextlib.asynccontextmanager
async def by_hand(folder: Path) -> AsyncGenerator[SSHClient]:
    """Start an OpenSSH daemon and yield a client of it."""
    async with (
        asyncio.timeout(4 * DEADLINE_S),
        sshd(folder / "sshd") as daemon,
        await SSHClient.connect(daemon.capability()) as client,
    ):
        yield client


PLACES = {"workspace": workspace, "sshd": by_hand}


def context(client: SSHClient, **settings: Any) -> ToolContext:
    """Return what a tool is told of a run."""
    config = ToolAgentConfig(**settings)
    return ToolContext(Run(None, "work", {}), client.capability, config, "a-model")


def text(result: MCPToolResult) -> str:
    """Return the only content of a result, a text."""
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text
