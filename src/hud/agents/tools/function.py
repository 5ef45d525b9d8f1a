"""A Python function as a tool of an agent's own.

Functions of an environment are MCP tools (`@env.tool`); these run in the agent's process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hud.agents.tools.base import AgentTool
from hud.environment.tools_function import ToolFunction
from hud.trace.content import MCPToolResult

_THREADS = 8


class FunctionTool(AgentTool[Any]):
    """Call a function with the model's arguments; what it raises is told to the model."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._function = ToolFunction(fn)
        shown = self._function.definition()
        self.name = shown.name
        self.description = shown.description or ""
        self.parameters = shown.input_schema
        self._threads = asyncio.Semaphore(_THREADS)

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        result = await self._function.call(arguments, self._threads)
        plain = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        return MCPToolResult.model_validate(plain)
