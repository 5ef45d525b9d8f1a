"""The computer tool of OpenAI's Responses API, in its present and in its preview shape.

Safety checks are acknowledged by the dialect; calls and outputs become items there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from hud.agents.tools import screen_arguments as given
from hud.agents.tools.base import ToolError
from hud.agents.tools.computer import ComputerTool
from hud.agents.tools.key_names import chords, modifiers
from hud.agents.tools.screen import MAX_SCROLL, Button, Limits, told
from hud.trace.content import MCPToolResult

WAIT_S = 2.0
MOST_ACTIONS = 100
_FIRST_WITH_COMPUTER = (5, 4)
_BUTTONS: dict[str, Button] = {
    "left": "left",
    "right": "right",
    "wheel": "middle",
    "middle": "middle",
    "back": "back",
    "forward": "forward",
}
_TYPES = (
    "screenshot",
    "click",
    "double_click",
    "move",
    "drag",
    "scroll",
    "type",
    "keypress",
    "wait",
)
_GPT = re.compile(r"\bgpt-(\d+)(?:\.(\d+))?")


class OpenAIComputerTool(ComputerTool):
    """A desktop as OpenAI's models were trained on it.

    A native call's arguments are `{"actions": […]}`, or `{"action": {…}}` of the preview; they
    are carried out in order, and the result ends with the picture after the last. One that cannot
    be carried out ends the call: the result says so, is an error, and shows the screen all the
    same, because the API takes nothing but a picture.

    Models that know neither shape get the plain `computer` function.
    """

    @classmethod
    def limits(cls, model: str) -> Limits:
        return Limits(1920, 2_400_000) if _generation(model) else Limits(1440, 1_300_000)

    def native_spec(self) -> dict[str, Any] | None:
        if "computer-use-preview" in self.context.model:
            width, height = self.view.viewport.picture
            return {
                "type": "computer_use_preview",
                "display_width": width,
                "display_height": height,
                "environment": "browser" if self.protocol == "cdp" else "linux",
            }
        if _generation(self.context.model) >= _FIRST_WITH_COMPUTER:
            return {"type": "computer"}
        return None

    async def perform(self, arguments: dict[str, Any]) -> MCPToolResult:
        actions = arguments.get("actions")
        if actions is None and isinstance(arguments.get("action"), Mapping):
            actions = [arguments["action"]]
        if actions is None and self.native_spec() is None:
            return await super().perform(arguments)
        try:
            await self._act(actions)
        except ToolError as error:
            return await self.failed(error)
        return await self.view.settled()

    async def _act(self, actions: Any) -> None:
        listed = cast("list[Any]", actions) if isinstance(actions, list) else []
        if not 0 < len(listed) <= MOST_ACTIONS:
            raise ToolError(f"'actions' must be a list of 1 to {MOST_ACTIONS} actions")
        for index, action in enumerate(listed):
            try:
                if not isinstance(action, Mapping):
                    raise ToolError("an action must be an object with a type")
                with told():
                    if index:
                        await self.view.screen.settle()
                    await self._one(cast("Mapping[str, Any]", action))
            except ToolError as error:
                if len(listed) == 1:
                    raise
                raise ToolError(
                    f"action {index + 1} of {len(listed)} could not be carried out, and the ones "
                    f"after it were not: {error}"
                ) from error

    async def _one(self, action: Mapping[str, Any]) -> None:
        screen = self.view.screen
        match given.choice(action, "type", _TYPES):
            case "click":
                named = given.choice({"button": "left", **action}, "button", tuple(_BUTTONS))
                await screen.click(self._place(action), _BUTTONS[named], 1, _held(action))
            case "double_click":
                await screen.click(self._place(action), "left", 2, _held(action))
            case "move":
                await screen.move(self._place(action))
            case "drag":
                path = [self.view.place(*at) for at in given.path(action, "path")]
                await screen.drag(path, _held(action))
            case "scroll":
                by = (_scrolled(action, "scroll_x"), _scrolled(action, "scroll_y"))
                right, down = self.view.viewport.distance(*by)
                await screen.scroll(self._place(action), right, down, _held(action))
            case "type":
                await screen.type(given.text(action, "text"))
            case "keypress":
                for chord in chords(given.keys(action, "keys") or []):
                    await screen.press(chord)
            case "wait":
                await asyncio.sleep(WAIT_S)
            case _:
                pass  # a screenshot, which is taken when all is done

    def _place(self, action: Mapping[str, Any]) -> tuple[int, int]:
        return self.view.place(given.number(action, "x"), given.number(action, "y"))


class OpenAIPageTool(OpenAIComputerTool):
    """`OpenAIComputerTool` for the page of a browser."""

    protocol: ClassVar[str] = "cdp"


def _scrolled(action: Mapping[str, Any], name: str) -> float:
    return given.number(action, name, default=0, low=-MAX_SCROLL, high=MAX_SCROLL)


def _held(action: Mapping[str, Any]) -> list[str]:
    return modifiers(given.keys(action, "keys"))


def _generation(model: str) -> tuple[int, int]:
    """Return the generation of a GPT model, (0, 0) for any other model."""
    found = _GPT.search(model)
    return (int(found[1]), int(found[2] or 0)) if found and "nano" not in model else (0, 0)
