"""Tools that agents attach to capabilities: one family per file."""

from hud.agents.tools.base import (
    AgentTool,
    ToolContext,
    ToolError,
    ToolMaker,
    image_result,
    text_result,
    tool_maker,
)
from hud.agents.tools.subagent import subagent

__all__ = [
    "AgentTool",
    "ToolContext",
    "ToolError",
    "ToolMaker",
    "image_result",
    "subagent",
    "text_result",
    "tool_maker",
]
