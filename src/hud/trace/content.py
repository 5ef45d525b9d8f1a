"""Message and tool content in the shapes of the Model Context Protocol.

Plain twins of MCP's own types, equal on the wire (spec revision 2025-11-25), so that reading or
writing a step never has to import an MCP implementation.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

JsonValue = str | int | float | bool | list[Any] | dict[str, Any] | None
JsonObject = dict[str, JsonValue]


class _Block(BaseModel):
    model_config = ConfigDict(extra="allow")


class TextContent(_Block):
    """A text."""

    type: Literal["text"] = "text"
    text: str


class ImageContent(_Block):
    """An image; `data` is base64."""

    type: Literal["image"] = "image"
    data: str
    mimeType: str


class AudioContent(_Block):
    """A sound; `data` is base64."""

    type: Literal["audio"] = "audio"
    data: str
    mimeType: str


class ResourceLink(_Block):
    """A resource kept elsewhere."""

    type: Literal["resource_link"] = "resource_link"
    name: str
    uri: str


class EmbeddedResource(_Block):
    """A resource with its content."""

    type: Literal["resource"] = "resource"
    resource: dict[str, Any]


ContentBlock = Annotated[
    TextContent | ImageContent | AudioContent | ResourceLink | EmbeddedResource,
    Field(discriminator="type"),
]


class PromptMessage(_Block):
    """One message of a prompt."""

    role: Literal["user", "assistant"]
    content: ContentBlock


class MCPToolCall(BaseModel):
    """A tool call as a model made it; `arguments` stays text where it was malformed."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    meta: dict[str, Any] | None = Field(
        default=None, validation_alias=AliasChoices("_meta", "meta"), serialization_alias="meta"
    )
    name: str
    arguments: dict[str, Any] | str | None = None
    id: str = Field(default_factory=lambda: str(uuid4()))
    annotation: str | None = None
    provider_name: str | None = None


class MCPToolResult(BaseModel):
    """What a tool answered."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    meta: dict[str, Any] | None = Field(
        default=None, validation_alias=AliasChoices("_meta", "meta"), serialization_alias="meta"
    )
    content: list[ContentBlock]
    structuredContent: dict[str, Any] | None = None
    isError: bool = False
    call_id: str | None = None


def as_message(value: Any) -> PromptMessage:
    """Read one message of a prompt leniently: text, an MCP message, or a chat message.

    Raises:
        ValueError: when it is none of these.
    """
    if isinstance(value, PromptMessage):
        return value
    if isinstance(value, str):
        return PromptMessage(role="user", content=TextContent(text=value))
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, dict):
        held: dict[str, Any] = dict(value)  # pyright: ignore[reportUnknownArgumentType]
        content: Any = held.get("content")
        if isinstance(content, str):
            held["content"] = {"type": "text", "text": content}
        if held.get("role") not in ("user", "assistant"):
            held["role"] = "user"
        return PromptMessage.model_validate(held)
    raise ValueError(f"{type(value).__name__} is no prompt message")
