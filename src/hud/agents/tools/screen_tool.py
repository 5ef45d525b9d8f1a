"""What all tools that work a screen by pixel share: what the model last saw, and the way back.

A dialect's own class reads its actions and calls the screen; it never counts pixels.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from hud._core.errors import Fault, HudError
from hud.agents.tools.base import AgentTool, ToolContext, ToolError, image_result
from hud.agents.tools.screen import Limits, Place, Screen, Viewport, sentence, told
from hud.agents.tools.screen_desktop import DesktopScreen
from hud.agents.tools.screen_page import PageScreen
from hud.trace.content import ContentBlock, ImageContent, MCPToolResult, TextContent

if TYPE_CHECKING:
    from hud.capabilities.screenshots import ScreenshotEncoding

_UNSEEN = (1280, 720)


class View:
    """A screen as its model sees it, through pictures of bounded size.

    Attributes:
        screen: The screen.
        viewport: How the picture that was seen last lies on it.
        turn: Held by whoever acts: a screen takes one action at a time.
    """

    def __init__(self, screen: Screen, encoding: ScreenshotEncoding, limits: Limits) -> None:
        self.screen = screen
        self.viewport = Viewport(limits.fit(_UNSEEN), _UNSEEN)
        self.turn = asyncio.Lock()
        self._encoding = encoding
        self._limits = limits

    def place(self, x: float, y: float) -> Place:
        """Return the place on the screen of a place on the picture.

        Raises:
            ToolError: when it is outside the picture.
        """
        return self.viewport.to_screen(x, y)

    @property
    def cursor(self) -> Place:
        """Where the pointer is, on the picture."""
        return self.viewport.to_picture(self.screen.cursor)

    async def look(self) -> MCPToolResult:
        """Return a fresh picture, after what happened that cannot be seen on it.

        Raises:
            HudError: when the client cannot take one.
        """
        taken = await self.screen.picture(self._encoding, self._limits)
        self.viewport = Viewport(taken.size, taken.shown)
        text = "\n".join(self.screen.notices()) or None
        return image_result(taken.data, taken.mime_type, text)

    async def settled(self) -> MCPToolResult:
        """Wait until the last action can be seen, and return a fresh picture."""
        await self.screen.settle()
        return await self.look()

    async def zoom(self, corners: Sequence[float]) -> MCPToolResult:
        """Return a picture of a part of the screen; places stay those of the whole picture.

        Raises:
            ToolError: when the corners are none of a part of the picture.
        """
        box = self.viewport.box(corners)
        taken = await self.screen.picture(self._encoding, self._limits, box)
        return image_result(taken.data, taken.mime_type)


class ScreenTool(AgentTool[Any]):
    """A tool that works a screen by pixel: a desktop's over rfb, or over cdp a page's.

    A class drives one protocol; its twin for the other differs in `protocol` alone. Where an
    environment has a desktop, that is the screen, and no tool of this kind is bound to a page.

    Attributes:
        view: The screen and what the model last saw of it.
    """

    protocol: ClassVar[str] = "rfb"
    has_fit_pictures: ClassVar[bool] = True

    def __init__(self, client: Any, context: ToolContext, view: View | None = None) -> None:
        super().__init__(client, context)
        if view is None:
            screen = PageScreen(client) if self.protocol == "cdp" else DesktopScreen(client)
            encoding = context.config.screenshot_encoding
            view = View(screen, encoding, self.limits(context.model))
        self.view = view

    @classmethod
    def limits(cls, model: str) -> Limits:
        """Return how large a picture this model sees well."""
        return Limits()

    @classmethod
    async def bind(cls, client: Any, context: ToolContext) -> Sequence[AgentTool[Any]]:
        if cls.protocol == "cdp" and _has_desktop(context):
            return []
        tool = cls(client, context)
        await tool.see()
        return tool.bound()

    def bound(self) -> Sequence[AgentTool[Any]]:
        """Return the tools that a screen is bound as."""
        return [self]

    async def see(self) -> None:
        """Take the first picture, so that its size is known before the model is asked.

        Raises:
            CapabilityFault: when the screen is gone.
        """
        try:
            await self.view.look()
        except Fault:
            raise
        except HudError:
            pass  # a page that cannot be drawn yet; its tools will say why

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        async with self.view.turn:
            with told():
                return await self.perform(arguments)

    async def perform(self, arguments: dict[str, Any]) -> MCPToolResult:
        """Carry out one call; what the client refuses may be raised as it is."""
        raise NotImplementedError

    async def failed(self, error: ToolError) -> MCPToolResult:
        """Return an error as a result that also shows the screen.

        For an API whose results must be pictures.
        """
        content: list[ContentBlock] = [TextContent(text=str(error))]
        try:
            content += (await self.view.look()).content
        except Fault:
            raise
        except HudError as trouble:
            content.append(TextContent(text=sentence(trouble)))
            content.append(ImageContent(data=_BLANK, mimeType="image/png"))
        return MCPToolResult(content=content, isError=True)


def _has_desktop(context: ToolContext) -> bool:
    manifest = context.run.client.manifest if context.run.is_connected else None
    return manifest is not None and any(row.family == "rfb" for row in manifest.bindings)


# One black pixel.
_BLANK = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
        "3a7e9b550000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
    )
).decode("ascii")
