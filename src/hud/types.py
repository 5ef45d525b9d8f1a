"""Thin re-exports of the data types of a run, where users import them from."""

from hud._core.outcome import Outcome
from hud.agents.types import AgentType
from hud.trace.content import (
    AudioContent,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    JsonObject,
    JsonValue,
    MCPToolCall,
    MCPToolResult,
    PromptMessage,
    ResourceLink,
    TextContent,
)
from hud.trace.steps import (
    STEP_SCHEMA,
    Step,
    StepSource,
    StopReason,
    TaskCall,
    Trace,
    TraceStatus,
)

__all__ = [
    "STEP_SCHEMA",
    "AgentType",
    "AudioContent",
    "ContentBlock",
    "EmbeddedResource",
    "ImageContent",
    "JsonObject",
    "JsonValue",
    "MCPToolCall",
    "MCPToolResult",
    "Outcome",
    "PromptMessage",
    "ResourceLink",
    "Step",
    "StepSource",
    "StopReason",
    "TaskCall",
    "TextContent",
    "Trace",
    "TraceStatus",
]
