"""How a model double spells what it wants done: as calls of the tools it was offered.

Which tools those are differs by dialect and model; what is to be done does not. What to do is
`policies`, where to click `eyes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hud.testing.model_server import Call, Question

Place = tuple[int, int]
Size = tuple[int, int]


@dataclass(frozen=True)
class Look:
    """Ask for a picture."""


@dataclass(frozen=True)
class Click:
    """Click at a place of the last picture."""

    at: Place


@dataclass(frozen=True)
class Fill:
    """Click at a place of the last picture, and type there."""

    at: Place
    text: str
    enter: bool = False


@dataclass(frozen=True)
class Press:
    """Press a control key and a letter together."""

    letter: str


Act = Look | Click | Fill | Press


class Hands:
    """The tools of one request."""

    def __init__(self, question: Question) -> None:
        self._kinds = {tool.name: tool.kind for tool in question.tools}

    def has(self, name: str) -> bool:
        return name in self._kinds

    def shell(self, command: str) -> Call:
        """Run a command."""
        if self._kinds.get("shell") == "shell":
            return Call("shell", {"commands": [command]})
        assert self.has("bash"), self._kinds
        return Call("bash", {"command": command})

    def replace_line(self, path: str, old: str, new: str) -> Call:
        """Put one line of a file in the place of another."""
        if self._kinds.get("apply_patch") == "apply_patch":
            diff = f"@@\n-{old}\n+{new}\n"
            operation = {"type": "update_file", "path": path, "diff": diff}
            return Call("apply_patch", {"operation": operation})
        editors = ("str_replace_based_edit_tool", "edit_file")
        name = next(name for name in editors if self.has(name))
        edit = {"command": "str_replace", "path": path, "old_str": old, "new_str": new}
        return Call(name, edit)

    def screen(self, size: Size, *acts: Act) -> list[Call]:
        """Work a screen; `size` is that of the last picture."""
        if self.has("computer_use"):
            return [_gemini(act, size, is_page=self.has("browser_read")) for act in acts]
        if self._kinds.get("computer") == "computer":
            actions = [action for act in acts for action in _openai(act)]
            return [Call("computer", {"actions": actions})]
        assert self.has("computer"), self._kinds
        return [Call("computer", action) for act in acts for action in _claude(act)]


def _claude(act: Act) -> list[dict[str, Any]]:
    match act:
        case Look():
            return [{"action": "screenshot"}]
        case Click(at):
            return [{"action": "left_click", "coordinate": list(at)}]
        case Fill(at, text, enter):
            typed = [*_claude(Click(at)), {"action": "type", "text": text}]
            return [*typed, {"action": "key", "text": "Return"}] if enter else typed
        case Press(letter):
            return [{"action": "key", "text": f"ctrl+{letter}"}]


def _openai(act: Act) -> list[dict[str, Any]]:
    match act:
        case Look():
            return [{"type": "screenshot"}]
        case Click((x, y)):
            return [{"type": "click", "button": "left", "x": x, "y": y}]
        case Fill(at, text, enter):
            typed = [*_openai(Click(at)), {"type": "type", "text": text}]
            return [*typed, {"type": "keypress", "keys": ["ENTER"]}] if enter else typed
        case Press(letter):
            return [{"type": "keypress", "keys": ["CTRL", letter.upper()]}]


def _gemini(act: Act, size: Size, *, is_page: bool) -> Call:
    match act:
        case Look():
            if is_page:
                return Call("open_web_browser")
            return Call("hover_at", {"x": 1, "y": 1})
        case Click(at):
            return Call("click_at", _thousandths(at, size))
        case Fill(at, text, enter):
            how = {"press_enter": enter, "clear_before_typing": False}
            return Call("type_text_at", {**_thousandths(at, size), "text": text, **how})
        case Press(letter):
            return Call("key_combination", {"keys": f"control+{letter}"})


def _thousandths(at: Place, size: Size) -> dict[str, int]:
    return {"x": round(at[0] * 1000 / size[0]), "y": round(at[1] * 1000 / size[1])}
