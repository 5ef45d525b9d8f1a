"""The peer's Chat Completions agent with one tool of its own, which it has no argument for."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.programs import bare

# By name, because our own package has no such modules.
openai_compatible: Any = importlib.import_module("hud.agents.openai_compatible")
base: Any = importlib.import_module("hud.agents.tools.base")
types: Any = importlib.import_module("hud.agents.types")


class Look(base.AgentTool):
    name = "look"

    async def execute(self, arguments: dict[str, Any]) -> Any:
        return base.tool_ok(await bare.look(**arguments))

    def to_params(self) -> Any:
        function = {"name": "look", "description": bare.ABOUT, "parameters": bare.SCHEMA}
        return {"type": "function", "function": function}


class LookingAgent(openai_compatible.OpenAIChatAgent):
    async def _build_tools(self, connections: Any) -> Any:
        tool = Look(spec=base.AgentToolSpec("function", "look"), client=None)
        return {"look": tool}, [tool.to_params()]


def make_peer(server: str, turns: int) -> Any:
    """Return the agent on a model server."""
    config: dict[str, Any] = {
        "model": bare.MODEL,
        "base_url": f"{server}/v1",
        "api_key": "any",
        "max_steps": turns + 1,
    }
    return LookingAgent(types.OpenAIChatConfig(**config))
