"""The tools of an MCP server, as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hud.agents.tools.base import AgentTool, ToolContext
from hud.capabilities.mcp import MCPClient, Tool
from hud.trace.content import MCPToolResult


class MCPTool(AgentTool[MCPClient]):
    """One tool of an MCP server."""

    protocol = "mcp"

    def __init__(self, client: MCPClient, context: ToolContext, tool: Tool) -> None:
        super().__init__(client, context)
        self._called = tool.name
        self.name = tool.name
        self.description = tool.description or ""
        self.parameters = tool.inputSchema

    @classmethod
    async def bind(cls, client: MCPClient, context: ToolContext) -> Sequence[AgentTool[Any]]:
        return [cls(client, context, tool) for tool in await client.list_tools()]

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        return await self.client.call_tool(self._called, arguments)
