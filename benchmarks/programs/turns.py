"""Hold conversations of many turns in rollouts: through an agent, or with the bare SDK instead.

Ours and the peer's public SDK, by the same lines. CPU time is this process's; the model is served
by another.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import runpy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.programs import bare, spec
from hud import LocalRuntime, Taskset
from hud.agents.base import Agent

SOURCES = Path(__file__).resolve().parent.parent / "sources"
AGENTS = {
    "chat": ("hud.agents.openai_chat", "OpenAIChatAgent", "OpenAIChatConfig"),
    "responses": ("hud.agents.openai", "OpenAIAgent", "OpenAIConfig"),
    "messages": ("hud.agents.claude", "ClaudeAgent", "ClaudeConfig"),
    "gemini": ("hud.agents.gemini", "GeminiAgent", "GeminiConfig"),
}

ENDPOINTS = {"OPENAI": "/v1", "ANTHROPIC": "", "GOOGLE_GEMINI": ""}


@dataclass(frozen=True)
class Work:
    """What to do.

    Attributes:
        way: `agent`, `peer` (the peer's agent) or `bare`.
        server: Where the model is served.
        tool: `function`, the agent's own, or `mcp`, the environment's.
    """

    way: str
    server: str
    turns: int
    conversations: int
    dialect: str = "chat"
    tool: str = "function"


class Bare(Agent):
    """The SDK in its shortest loop."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work
        self.hold = bare.conversation(work.dialect, work.server)

    async def __call__(self, run: Any) -> None:
        call = bare.call_look
        if self.work.tool == "mcp":
            client = await run.client.open("tools")

            async def call(arguments: dict[str, Any]) -> str:
                return (await client.call_tool("look", arguments)).content[0].text

        run.trace.content = await self.hold(run.prompt, call)


def make_agent(work: Work) -> Any:
    if work.way == "bare":
        return Bare(work)
    if work.way == "peer":
        from benchmarks.programs.peer_agent import make_peer

        return make_peer(work.server, work.turns)
    module, agent, config = AGENTS[work.dialect]
    for provider, path in ENDPOINTS.items():
        os.environ[f"{provider}_BASE_URL"] = work.server + path
    for provider in ("OPENAI", "ANTHROPIC", "GEMINI"):
        os.environ[f"{provider}_API_KEY"] = "any"
    types = importlib.import_module("hud.agents.types")
    settings = getattr(types, config)(model=bare.MODEL, max_steps=work.turns + 1)
    tools = [bare.look] if work.tool == "function" else []
    return getattr(importlib.import_module(module), agent)(settings, tools=tools)


async def main(work: Work) -> None:
    name = "looking.py" if work.tool == "function" else "served_looking.py"
    source: dict[str, Any] = runpy.run_path(str(SOURCES / name))
    runtime: Any = LocalRuntime(source["env"])
    agent = make_agent(work)

    async def converse(turns: int, times: int) -> None:
        taskset = Taskset("looking", [source["look_around"](turns=turns)])
        job = await taskset.run(agent, runtime=runtime, group=times, max_concurrent=1)
        broken = [run for run in job.runs if run.reward != 1.0]
        if broken:
            raise SystemExit(f"{work}: {broken[0].trace.error or broken[0].trace.content}")
        if work.way != "bare":
            assert all(len(run.trace.steps) >= 2 * turns - 1 for run in job.runs)

    await converse(min(5, work.turns), 1)
    began = time.process_time()
    await converse(work.turns, work.conversations)
    spec.write({"turn_s": (time.process_time() - began) / work.conversations / work.turns})


if __name__ == "__main__":
    asyncio.run(main(spec.read(Work)))
