"""The seam of tools: what a model may call, bound to a live capability for one run.

One file per family beside this one. Which tools a model is offered is `toolbox`; how a tool is
spelled for an API is the dialect's part.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from typing_extensions import TypeVar

from hud.trace.content import ContentBlock, ImageContent, MCPToolResult, TextContent

if TYPE_CHECKING:
    from hud.agents.run import Run
    from hud.agents.types import ToolAgentConfig
    from hud.capabilities.base import CapabilityClient
    from hud.protocol.capability import Capability

ClientT = TypeVar("ClientT", bound="CapabilityClient", default="CapabilityClient")


class ToolError(Exception):
    """A call that cannot be carried out as the model made it; the model is told the message."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may know of the run it is bound for.

    Attributes:
        run: The run; a tool records steps of its own on it at most.
        capability: The row of the capability the tool drives.
        config: The agent's settings, the task row's own laid over them.
        model: The model's name.
    """

    run: Run
    capability: Capability
    config: ToolAgentConfig
    model: str


class AgentTool(ABC, Generic[ClientT]):
    """One tool of one run.

    A subclass says which protocol it drives and what the model is told of it. Instances live for
    one run and may keep state (a working folder, a page).

    Attributes:
        protocol: Family of the capability it drives (`ssh`, `cdp`, `rfb`, `mcp`), or its full id.
        name: What the model calls it; letters, digits, `_` and `-`, at most 64.
        description: What the model is told it does.
        parameters: JSON schema of its arguments, an object.
        stops_at_failure: Whether the other calls of a turn are left out after one that failed.
        has_fit_pictures: Whether every API takes the pictures it makes as they are.
    """

    protocol: ClassVar[str] = ""
    name: str = ""
    description: str = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}  # noqa: RUF012 -- replaced, never changed
    stops_at_failure: bool = False
    has_fit_pictures: ClassVar[bool] = False

    def __init__(self, client: ClientT, context: ToolContext) -> None:
        self.client = client
        self.context = context

    @classmethod
    async def bind(cls, client: ClientT, context: ToolContext) -> Sequence[AgentTool[Any]]:
        """Return the tools of this class for a live client; usually one.

        Raises:
            CapabilityFault: when the capability fails while it is asked what it offers.
        """
        return [cls(client, context)]

    def native_spec(self) -> Any | None:
        """Return how the dialect declares a tool its models were trained on; None for a function.

        A native tool has a fixed name, so only the first capability of its protocol gets it.
        """
        return None

    @abstractmethod
    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        """Carry out one call; must let cancellation through.

        Raises:
            ToolError: when the model has to call it otherwise.
            CapabilityFault: when the capability fails.
        """

    async def close(self) -> None:
        """Let go of what the tool holds beside its client; called when the run is over."""


def text_result(text: str, *, is_error: bool = False) -> MCPToolResult:
    """Return a result that is one text."""
    return MCPToolResult(content=[TextContent(text=text)], isError=is_error)


def image_result(data: bytes, mime_type: str, text: str | None = None) -> MCPToolResult:
    """Return a result that is a picture, after a text when one is given."""
    content: list[ContentBlock] = [] if text is None else [TextContent(text=text)]
    encoded = base64.b64encode(data).decode("ascii")
    content.append(ImageContent(data=encoded, mimeType=mime_type))
    return MCPToolResult(content=content)


@dataclass(frozen=True, slots=True)
class ToolMaker:
    """What makes a tool of an agent's own for each run; see `tool_maker`."""

    make: Callable[[Run, ToolAgentConfig], AgentTool[Any] | None]


def tool_maker(make: Callable[[Run, ToolAgentConfig], AgentTool[Any] | None]) -> ToolMaker:
    """Have a function make a tool for every run of an agent; it may return None for none.

    `ToolAgent(tools=[…])` takes what this returns, and takes any other function as a tool itself.
    """
    return ToolMaker(make)
