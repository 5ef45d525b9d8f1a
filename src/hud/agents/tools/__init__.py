"""Tools that agents attach to capabilities: one family per file."""

from hud.agents.tools.base import AgentTool, ToolContext, ToolError, image_result, text_result

__all__ = ["AgentTool", "ToolContext", "ToolError", "image_result", "text_result"]
