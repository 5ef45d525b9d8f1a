"""The predefined functions of Gemini's computer tool; places are thousandths of the screen.

Each function is a tool of its own; together they are declared once, as `computer_use`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hud.agents.tools import screen_arguments as given
from hud.agents.tools.base import AgentTool, ToolContext
from hud.agents.tools.key_names import chords
from hud.agents.tools.screen import Limits, Place
from hud.agents.tools.screen_tool import ScreenTool, View
from hud.trace.content import MCPToolResult, TextContent

WAIT_S = 5.0
SEARCH_PAGE = "https://www.google.com/"
_GRID = 1000
_SCROLLED = 800


class GeminiComputerTool(ScreenTool):
    """A desktop as Gemini's models were trained on a browser; `bind` makes a tool per function.

    Functions that only a browser has are left out, and so are those that the agent's settings
    exclude. A result names the page's address, also as `structuredContent["url"]`.
    """

    def __init__(
        self,
        client: Any,
        context: ToolContext,
        view: View | None = None,
        function: Function | None = None,
    ) -> None:
        super().__init__(client, context, view)
        self._function = function or FUNCTIONS[0]
        self.name = self._function.name
        self.description = self._function.description
        self.parameters = self._function.parameters

    @classmethod
    def limits(cls, model: str) -> Limits:
        return Limits(1600, 1_440_000)

    def bound(self) -> Sequence[AgentTool[Any]]:
        excluded = self._excluded()
        kind = type(self)
        return [
            kind(self.client, self.context, self.view, function)
            for function in FUNCTIONS
            if function.name not in excluded
        ]

    def native_spec(self) -> dict[str, Any]:
        """Return the declaration that all functions share: declare it once."""
        known = [function.name for function in FUNCTIONS]
        return {
            "computer_use": {
                "environment": "ENVIRONMENT_BROWSER",
                "excluded_predefined_functions": [
                    *(name for name in known if name in self._excluded()),
                    *(name for name in self._settings() if name not in known),
                ],
            }
        }

    async def perform(self, arguments: dict[str, Any]) -> MCPToolResult:
        await self._function.run(self, arguments)
        result = await self.view.settled()
        if self.protocol != "cdp":
            return result
        url = str(self.client.url)
        shown = TextContent(text=f"url: {url}")
        return result.model_copy(
            update={"content": [shown, *result.content], "structuredContent": {"url": url}}
        )

    def at(self, arguments: dict[str, Any], x: str = "x", y: str = "y") -> Place:
        """Return the place on the screen that two thousandths name.

        Raises:
            ToolError: when they are none.
        """
        width, height = self.view.viewport.screen
        across, down = (given.number(arguments, name, low=0, high=_GRID) for name in (x, y))
        return (
            min(int(across * width / _GRID), width - 1),
            min(int(down * height / _GRID), height - 1),
        )

    def _settings(self) -> list[str]:
        return list(getattr(self.context.config, "excluded_predefined_functions", ()))

    def _excluded(self) -> set[str]:
        excluded = set(self._settings())
        if self.protocol != "cdp":
            excluded |= {function.name for function in FUNCTIONS if function.needs_browser}
        return excluded


class GeminiPageTool(GeminiComputerTool):
    """`GeminiComputerTool` for the page of a browser."""

    protocol: ClassVar[str] = "cdp"


Run = Callable[[GeminiComputerTool, dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Function:
    """One predefined function.

    Attributes:
        run: Does it; the picture is taken afterwards.
        needs_browser: Whether a desktop has no such thing.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    run: Run
    needs_browser: bool = False


async def _open(tool: GeminiComputerTool, _: dict[str, Any]) -> None:
    """Do nothing: the browser is open."""


async def _wait(tool: GeminiComputerTool, _: dict[str, Any]) -> None:
    await asyncio.sleep(WAIT_S)


async def _back(tool: GeminiComputerTool, _: dict[str, Any]) -> None:
    await tool.client.back()


async def _forward(tool: GeminiComputerTool, _: dict[str, Any]) -> None:
    await tool.client.forward()


async def _search(tool: GeminiComputerTool, _: dict[str, Any]) -> None:
    await tool.client.navigate(SEARCH_PAGE)


async def _navigate(tool: GeminiComputerTool, arguments: dict[str, Any]) -> None:
    await tool.client.navigate(given.address(arguments, "url"))


async def _click(tool: GeminiComputerTool, arguments: dict[str, Any]) -> None:
    await tool.view.screen.click(tool.at(arguments), "left", 1, [])


async def _hover(tool: GeminiComputerTool, arguments: dict[str, Any]) -> None:
    await tool.view.screen.move(tool.at(arguments))


async def _type(tool: GeminiComputerTool, arguments: dict[str, Any]) -> None:
    text, at = given.text(arguments, "text"), tool.at(arguments)
    clears = given.flag(arguments, "clear_before_typing", default=True)
    enters = given.flag(arguments, "press_enter", default=True)
    screen = tool.view.screen
    await screen.click(at, "left", 1, [])
    await screen.settle()  # the keyboard goes elsewhere only when the click has been answered
    if clears:
        await screen.press(("Control", "a"))
        await screen.press(("Delete",))
    await screen.type(text)
    if enters:
        await screen.press(("Enter",))


async def _keys(tool: GeminiComputerTool, arguments: dict[str, Any]) -> None:
    for chord in chords(given.keys(arguments, "keys") or ""):
        await tool.view.screen.press(chord)


async def _scroll_document(tool: GeminiComputerTool, arguments: dict[str, Any]) -> None:
    width, height = tool.view.viewport.screen
    await _scroll(tool, (width // 2, height // 2), arguments, _SCROLLED)


async def _scroll_at(tool: GeminiComputerTool, arguments: dict[str, Any]) -> None:
    by = given.number(arguments, "magnitude", default=_SCROLLED, low=0, high=_GRID)
    await _scroll(tool, tool.at(arguments), arguments, by)


async def _scroll(
    tool: GeminiComputerTool, at: Place, arguments: dict[str, Any], by: float
) -> None:
    right, down = given.direction(arguments, "direction")
    width, height = tool.view.viewport.screen
    pixels = round(right * by * width / _GRID), round(down * by * height / _GRID)
    await tool.view.screen.scroll(at, *pixels, [])


async def _drag(tool: GeminiComputerTool, arguments: dict[str, Any]) -> None:
    end = tool.at(arguments, "destination_x", "destination_y")
    await tool.view.screen.drag([tool.at(arguments), end], [])


def _parameters(required: Sequence[str] = (), **optional: str) -> dict[str, Any]:
    types = {"text": "string", "url": "string", "keys": "string", "direction": "string"}
    properties = {name: {"type": types.get(name, "integer")} for name in required}
    properties |= {name: {"type": kind} for name, kind in optional.items()}
    return {"type": "object", "properties": properties, "required": list(required)}


_XY = ("x", "y")
FUNCTIONS: tuple[Function, ...] = (
    Function("open_web_browser", "Open the browser.", _parameters(), _open, needs_browser=True),
    Function("wait_5_seconds", "Wait 5 seconds.", _parameters(), _wait),
    Function("go_back", "Go one page back.", _parameters(), _back, needs_browser=True),
    Function("go_forward", "Go one page forward.", _parameters(), _forward, needs_browser=True),
    Function("search", "Go to a search engine.", _parameters(), _search, needs_browser=True),
    Function("navigate", "Go to a URL.", _parameters(["url"]), _navigate, needs_browser=True),
    Function("click_at", "Click at a place.", _parameters(_XY), _click),
    Function("hover_at", "Put the pointer at a place.", _parameters(_XY), _hover),
    Function(
        "type_text_at",
        "Click at a place and type there.",
        _parameters([*_XY, "text"], press_enter="boolean", clear_before_typing="boolean"),
        _type,
    ),
    Function("key_combination", "Press keys together.", _parameters(["keys"]), _keys),
    Function("scroll_document", "Scroll the page.", _parameters(["direction"]), _scroll_document),
    Function(
        "scroll_at",
        "Scroll what is at a place.",
        _parameters([*_XY, "direction"], magnitude="integer"),
        _scroll_at,
    ),
    Function(
        "drag_and_drop",
        "Drag from a place to another.",
        _parameters([*_XY, "destination_x", "destination_y"]),
        _drag,
    ),
)

GEMINI_SCREEN_TOOLS: Sequence[type[AgentTool[Any]]] = (GeminiComputerTool, GeminiPageTool)
