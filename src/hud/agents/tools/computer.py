"""The `computer` tool: one function for any model, and the native tool of Claude's models.

Both spell actions alike. Other vendors' spellings are `computer_openai` and `computer_gemini`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from hud.agents.tools import screen_arguments as given
from hud.agents.tools.base import AgentTool, ToolContext, ToolError, text_result
from hud.agents.tools.claude_kinds import COMPUTER_TOOLSET, native_kinds
from hud.agents.tools.key_names import chords, modifiers
from hud.agents.tools.screen import MAX_SCROLL, NOTCH, Button, Limits, Place
from hud.agents.tools.screen_tool import ScreenTool, View
from hud.trace.content import MCPToolResult

LONGEST_WAIT_S = 100.0
MOST_PRESSES = 100

# Button and number of clicks.
_CLICKS: dict[str, tuple[Button, int]] = {
    "left_click": ("left", 1),
    "right_click": ("right", 1),
    "middle_click": ("middle", 1),
    "double_click": ("left", 2),
    "triple_click": ("left", 3),
}
ACTIONS = (
    "screenshot",
    *_CLICKS,
    "mouse_move",
    "left_click_drag",
    "left_mouse_down",
    "left_mouse_up",
    "scroll",
    "type",
    "key",
    "hold_key",
    "wait",
    "cursor_position",
    "zoom",
)
_PLACE = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "action": {"type": "string", "enum": list(ACTIONS), "description": "What to do."},
        "coordinate": {
            **_PLACE,
            "description": "[x, y] on the last picture: where to click, move, scroll or drop; "
            "clicks and scrolls without it happen where the pointer is.",
        },
        "start_coordinate": {**_PLACE, "description": "Where left_click_drag begins."},
        "text": {
            "type": "string",
            "description": "For type, the text. For key and hold_key, keys such as ctrl+s, Enter "
            "or Page_Down. For clicks, drags and scrolls, keys to hold meanwhile.",
        },
        "repeat": {"type": "integer", "description": "How often key presses; 1 by default."},
        "scroll_direction": {"type": "string", "enum": ["up", "down", "left", "right"]},
        "scroll_amount": {"type": "integer", "description": "Notches of the wheel; default 3."},
        "duration": {"type": "number", "description": "Seconds of wait or hold_key."},
        "region": {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 4,
            "maxItems": 4,
            "description": "[left, top, right, bottom] on the last whole picture: what zoom shows.",
        },
    },
    "required": ["action"],
}


class ComputerTool(ScreenTool):
    """A desktop as one function, for models that have no computer tool of their own."""

    name = "computer"
    parameters = _PARAMETERS

    def bound(self) -> Sequence[AgentTool[Any]]:
        width, height = self.view.viewport.picture
        what = "a web page" if self.protocol == "cdp" else "a desktop"
        self.description = (
            f"See {what} and work it with mouse and keyboard. Every action answers with a picture "
            f"of the screen, at first {width}x{height} pixels, and places are pixels of the last "
            "one. Begin with a screenshot."
        )
        return [self]

    async def perform(self, arguments: dict[str, Any]) -> MCPToolResult:
        return await perform(self.view, arguments)


class PageComputerTool(ComputerTool):
    """`ComputerTool` for the page of a browser."""

    protocol: ClassVar[str] = "cdp"


class ClaudeComputerTool(ComputerTool):
    """A desktop as Claude's models were trained on it.

    With the toolset of the newer ones every action is a call of its own, several of them a turn:
    an action answers in words, a picture is asked for, and none is carried out after one that
    failed.

    Attributes:
        kind: Type of the native tool that the model knows; None where a function has to do.
    """

    def __init__(self, client: Any, context: ToolContext, view: View | None = None) -> None:
        super().__init__(client, context, view)
        wanted = getattr(context.config, "use_computer_beta", True)
        self.kind = native_kinds(context.model).computer if wanted else None
        self.stops_at_failure = self.kind == COMPUTER_TOOLSET

    @classmethod
    def limits(cls, model: str) -> Limits:
        # More than a model sees would be scaled down by the API, and places would be off. A
        # conversation of more than 20 pictures may have none with a side over 2,000 pixels.
        is_sharper = "opus" in model and _version(model) >= (4, 7)
        return Limits(2000, 3_750_000) if is_sharper else Limits()

    def native_spec(self) -> dict[str, Any] | None:
        if self.kind is None:
            return None
        if self.kind == COMPUTER_TOOLSET:
            return {"type": self.kind}
        width, height = self.view.viewport.picture
        spec: dict[str, Any] = {
            "type": self.kind,
            "name": self.name,
            "display_width_px": width,
            "display_height_px": height,
        }
        if self.kind == "computer_20251124":
            spec["enable_zoom"] = True
        return spec

    async def perform(self, arguments: dict[str, Any]) -> MCPToolResult:
        if self.kind != COMPUTER_TOOLSET:
            return await perform(self.view, arguments)
        return await perform(self.view, arguments, self._done)

    async def _done(self) -> MCPToolResult:
        await self.view.screen.settle()
        return text_result("\n".join(["Done.", *self.view.screen.notices()]))


class ClaudePageTool(ClaudeComputerTool):
    """`ClaudeComputerTool` for the page of a browser."""

    protocol: ClassVar[str] = "cdp"


async def perform(
    view: View,
    arguments: dict[str, Any],
    done: Callable[[], Awaitable[MCPToolResult]] | None = None,
) -> MCPToolResult:
    """Carry out one action of the `computer` function.

    Args:
        done: Makes the answer to an action that asks for none; a picture when None.

    Raises:
        ToolError: when the arguments are none of an action.
    """
    action, screen = given.choice(arguments, "action", ACTIONS), view.screen
    match action:
        case "screenshot":
            return await view.look()
        case "zoom":
            return await view.zoom(given.numbers(arguments, "region", 4))
        case "cursor_position":
            x, y = view.cursor
            return text_result(f"X={x},Y={y}")
        case "wait":
            await asyncio.sleep(_duration(arguments))
        case "type":
            await screen.type(given.text(arguments, "text"))
        case "key":
            times = round(given.number(arguments, "repeat", default=1, low=1, high=MOST_PRESSES))
            for _ in range(times):
                for chord in chords(given.text(arguments, "text")):
                    await screen.press(chord)
        case "hold_key":
            held = chords(given.text(arguments, "text"))
            if len(held) > 1:
                raise ToolError("hold_key takes one combination of keys at a time")
            await screen.hold(held[0], _duration(arguments))
        case "mouse_move":
            await screen.move(view.place(*given.place(arguments, "coordinate")))
        case "left_mouse_down":
            await screen.mouse_down(_place(view, arguments))
        case "left_mouse_up":
            await screen.mouse_up(_place(view, arguments))
        case "left_click_drag":
            start = _place(view, arguments, "start_coordinate") or screen.cursor
            end = view.place(*given.place(arguments, "coordinate"))
            await screen.drag([start, end], _held(arguments))
        case "scroll":
            right, down = given.direction(arguments, "scroll_direction")
            amount = given.number(
                arguments, "scroll_amount", default=3, low=0, high=MAX_SCROLL / NOTCH
            )
            by = round(amount) * NOTCH
            await screen.scroll(_place(view, arguments), right * by, down * by, _held(arguments))
        case _:
            button, count = _CLICKS[action]
            await screen.click(_place(view, arguments), button, count, _held(arguments))
    return await (done or view.settled)()


def _place(view: View, arguments: dict[str, Any], name: str = "coordinate") -> Place | None:
    if arguments.get(name) is None:
        return None
    return view.place(*given.place(arguments, name))


def _held(arguments: dict[str, Any]) -> list[str]:
    return modifiers(given.keys(arguments, "text"))


def _duration(arguments: dict[str, Any]) -> float:
    return given.number(arguments, "duration", default=1, low=0, high=LONGEST_WAIT_S)


_NEWEST = (99, 0)
_NAMED = re.compile(
    r"claude-(?:(?P<kind>[a-z]+)-)?(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?(?!\d)"
)


def _version(model: str) -> tuple[int, int]:
    """Return the generation of a Claude model; a name without one is taken for the newest."""
    found = _NAMED.search(model)
    return (int(found["major"]), int(found["minor"] or 0)) if found else _NEWEST


SCREEN_TOOLS: tuple[type[AgentTool[Any]], ...] = (ComputerTool, PageComputerTool)
CLAUDE_SCREEN_TOOLS: tuple[type[AgentTool[Any]], ...] = (ClaudeComputerTool, ClaudePageTool)
