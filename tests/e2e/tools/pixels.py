"""What tests of screens share: a run, its tools, and where a colour is on a picture."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

from hud.agents.run import Run
from hud.agents.tools.base import AgentTool, ToolContext
from hud.agents.types import ClaudeConfig, GeminiConfig, OpenAIConfig, ToolAgentConfig
from hud.capabilities.base import CapabilityClient
from hud.capabilities.screenshots import PngScreenshotEncoding, ScreenshotEncoding
from hud.clients import connect
from hud.eval import Runtime
from hud.trace.content import ImageContent, MCPToolResult, TextContent

ToolT = TypeVar("ToolT", bound=AgentTool[Any])

RED, GREEN, BLUE = (255, 0, 0), (0, 128, 0), (0, 0, 255)


@contextlib.asynccontextmanager
async def running(url: str, task: str, **arguments: Any) -> AsyncGenerator[Run]:
    """Do a task of a served environment; it is graded when the block ends."""
    async with connect(Runtime(url)) as client, Run(client, task, arguments) as run:
        yield run


async def bound(
    kind: type[AgentTool[Any]],
    run: Run | CapabilityClient,
    ref: str = "",
    *,
    model: str = "a-model",
    config: ToolAgentConfig | None = None,
    encoding: ScreenshotEncoding | None = None,
) -> dict[str, AgentTool[Any]]:
    """Bind a class of tools to a capability of a run, or to a client that no run has."""
    client = await run.client.open(ref) if isinstance(run, Run) else run
    config = config or ToolAgentConfig()
    config = config.model_copy(update={"screenshot_encoding": encoding or PngScreenshotEncoding()})
    of = run if isinstance(run, Run) else Run(None, "none", {})
    context = ToolContext(of, client.capability, config, model)
    return {tool.name: tool for tool in await kind.bind(client, context)}


def config_of(dialect: str) -> ToolAgentConfig:
    """Return the settings of a dialect's agent."""
    rows = {"claude": ClaudeConfig, "openai": OpenAIConfig, "gemini": GeminiConfig}
    return rows.get(dialect, ToolAgentConfig)()


def text_of(result: MCPToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def picture_of(result: MCPToolResult) -> Any:
    """Return the picture that a result ends with."""
    from PIL import Image

    block = result.content[-1]
    assert isinstance(block, ImageContent), result
    image = Image.open(io.BytesIO(base64.b64decode(block.data)))
    assert Image.MIME[image.format or ""] == block.mimeType
    return image.convert("RGB")


def middle_of(picture: Any, colour: tuple[int, int, int], near: int = 40) -> tuple[int, int] | None:
    """Return the middle of everything of about this colour, None where there is none."""
    from PIL import Image, ImageChops

    apart: Any = ImageChops.difference(picture, Image.new("RGB", picture.size, colour))
    table = [255 if value <= near else 0 for value in range(256)]
    red, green, blue = (band.point(table) for band in apart.split())
    box = ImageChops.darker(ImageChops.darker(red, green), blue).getbbox()
    return None if box is None else ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
