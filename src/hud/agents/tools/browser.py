"""A browser by its pages' elements: functions over cdp for any model, whether it sees or not.

Whatever a page says is data in a result. Working a page by pixel is the computer tools' part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from hud._core import json
from hud._core.errors import bounded
from hud.agents.tools import screen_arguments as given
from hud.agents.tools.base import AgentTool, ToolContext, ToolError, text_result
from hud.agents.tools.browser_select import select_option
from hud.agents.tools.key_names import chords
from hud.agents.tools.screen import Limits, told
from hud.agents.tools.screen_page import PageScreen
from hud.agents.tools.screen_tool import View
from hud.capabilities.cdp.errors import CDPError
from hud.trace.content import MCPToolResult

if TYPE_CHECKING:
    from hud.capabilities.cdp import CDPClient
    from hud.capabilities.cdp.pages import Tab

MAX_NODES = 1_000
MAX_PAGE_CHARS = 20_000
MAX_VALUE_CHARS = 20_000
MAX_SCREENS = 100

_TEXT = {"type": "string"}
_NODE = {"type": "integer", "description": "Number of the element, in brackets in browser_read."}


def _object(required: Sequence[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


class BrowserTool(AgentTool[Any]):
    """One function of a browser; `bind` of this class makes all of them.

    They take turns. A result ends with the dialogs that opened meanwhile.

    Attributes:
        view: The page, and what was last seen of it.
    """

    protocol: ClassVar[str] = "cdp"

    def __init__(self, client: CDPClient, context: ToolContext, view: View | None = None) -> None:
        super().__init__(client, context)
        self.client: CDPClient = client
        encoding = context.config.screenshot_encoding
        self.view = view or View(PageScreen(client), encoding, Limits())

    @classmethod
    async def bind(cls, client: Any, context: ToolContext) -> Sequence[AgentTool[Any]]:
        if cls is not BrowserTool:
            return [cls(client, context)]
        view = View(PageScreen(client), context.config.screenshot_encoding, Limits())
        return [kind(client, context, view) for kind in BROWSER_TOOLS]

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        async with self.view.turn:
            with told():
                done = await self.perform(arguments)
                if isinstance(done, MCPToolResult):
                    return done
                return text_result("\n".join([done, *self.view.screen.notices()]))

    async def perform(self, arguments: dict[str, Any]) -> str | MCPToolResult:
        """Carry out one call and return what to say; what the client refuses is raised as it is."""
        raise NotImplementedError

    async def settled(self, done: str) -> str:
        """Wait until the page has answered an action, and say which page it is then."""
        await self.view.screen.settle()
        current = next((tab for tab in await self.client.tabs() if tab.is_current), None)
        return done if current is None else f"{done}\n{_page(current)}"


class BrowserNavigate(BrowserTool):
    """Go to an address."""

    name = "browser_navigate"
    description = "Go to a URL in the current tab and wait until it is loaded."
    parameters = _object(["url"], url=_TEXT)

    async def perform(self, arguments: dict[str, Any]) -> str:
        went = await self.client.navigate(given.address(arguments, "url"))
        if went.error:
            return f"Nothing was loaded: {went.error}."
        return await self.settled(f"Loaded, status {went.status}." if went.status else "Loaded.")


class BrowserRead(BrowserTool):
    """What is on the page, as text."""

    name = "browser_read"
    description = (
        "Read the current page: what is on it, in reading order, one element per line with its "
        "role, name, value and state, and in brackets the number that other functions take. "
        "Numbers hold until the page changes."
    )
    parameters = _object([])

    async def perform(self, arguments: dict[str, Any]) -> str:
        current = next((tab for tab in await self.client.tabs() if tab.is_current), None)
        head = [_page(current)] if current else []
        try:
            tree = await self.client.accessibility_tree(max_nodes=MAX_NODES, boxes=False)
        except CDPError as error:
            text = await self.client.text(max_chars=MAX_PAGE_CHARS)
            return "\n".join([*head, f"Only its text can be read: {error.message}", text])
        return "\n".join([*head, *_bounded_lines(str(tree))])


class BrowserClick(BrowserTool):
    """Click an element."""

    name = "browser_click"
    description = "Click an element of the page; it is scrolled into view."
    parameters = _object(
        ["node"],
        node=_NODE,
        button={"type": "string", "enum": ["left", "middle", "right"]},
        double={"type": "boolean", "description": "Click twice."},
    )

    async def perform(self, arguments: dict[str, Any]) -> str:
        node = _node(arguments)
        held = {"button": "left", **arguments}
        count = 2 if given.flag(arguments, "double", default=False) else 1
        match given.choice(held, "button", ("left", "middle", "right")):
            case "right":
                await self.client.click(node=node, button="right", count=count)
            case "middle":
                await self.client.click(node=node, button="middle", count=count)
            case _:
                await self.client.click(node=node, count=count)
        return await self.settled(f"Clicked element {node}.")


class BrowserType(BrowserTool):
    """Type into a field."""

    name = "browser_type"
    description = "Type a text into a field, in place of what it holds."
    parameters = _object(
        ["node", "text"],
        node=_NODE,
        text=_TEXT,
        submit={"type": "boolean", "description": "Press Enter afterwards."},
        append={"type": "boolean", "description": "Keep what the field holds, and add to it."},
    )

    async def perform(self, arguments: dict[str, Any]) -> str:
        node, text = _node(arguments), given.text(arguments, "text")
        submits = given.flag(arguments, "submit", default=False)
        appends = given.flag(arguments, "append", default=False)
        await self.client.click(node=node)
        if appends:
            await self.client.press("Control+End")
        else:
            await self.client.press("Control+a", *([] if text else ["Delete"]))
        await self.client.type(text)
        if submits:
            await self.client.press("Enter")
        return await self.settled(f"Typed {len(text)} characters into element {node}.")


class BrowserSelect(BrowserTool):
    """Choose in a drop-down list."""

    name = "browser_select"
    description = "Choose an option of a drop-down list (a combobox or listbox), by its label."
    parameters = _object(["node", "option"], node=_NODE, option=_TEXT)

    async def perform(self, arguments: dict[str, Any]) -> str:
        node, option = _node(arguments), given.text(arguments, "option")
        await select_option(self.client, node, option)
        return await self.settled(f"Chose {bounded(option)!r} in element {node}.")


class BrowserPress(BrowserTool):
    """Press keys."""

    name = "browser_press"
    description = "Press keys: Enter, Tab, Escape, ctrl+a, several with blanks between them."
    parameters = _object(["keys"], keys=_TEXT)

    async def perform(self, arguments: dict[str, Any]) -> str:
        for chord in chords(given.text(arguments, "keys")):
            await self.view.screen.press(chord)
        return await self.settled("Pressed.")


class BrowserScroll(BrowserTool):
    """Scroll the page or an element."""

    name = "browser_scroll"
    description = "Scroll the page, or the part of it that an element is in."
    parameters = _object(
        ["direction"],
        direction={"type": "string", "enum": ["up", "down", "left", "right"]},
        screens={"type": "number", "description": "How far, in heights of the window; 0.8."},
        node=_NODE,
    )

    async def perform(self, arguments: dict[str, Any]) -> str:
        right, down = given.direction(arguments, "direction")
        screens = given.number(arguments, "screens", default=0.8, low=0, high=MAX_SCREENS)
        width, height = await self.client.viewport()
        dx, dy = right * screens * width, down * screens * height
        if arguments.get("node") is None:
            await self.client.scroll(width / 2, height / 2, dx=dx, dy=dy)
        else:
            await self.client.move(node=_node(arguments))
            await self.client.scroll(dx=dx, dy=dy)
        return await self.settled("Scrolled.")


class BrowserBack(BrowserTool):
    """Go one page back."""

    name = "browser_back"
    description = "Go one page back in the current tab."
    parameters = _object([])

    async def perform(self, arguments: dict[str, Any]) -> str:
        await self.client.back()
        return await self.settled("Went back.")


class BrowserTabs(BrowserTool):
    """List, open, switch and close tabs."""

    name = "browser_tabs"
    description = "List the tabs of the browser, after opening, switching to or closing one."
    parameters = _object(
        [],
        action={"type": "string", "enum": ["list", "open", "switch", "close"]},
        tab={"type": "integer", "description": "Number of the tab to switch to or close."},
        url={"type": "string", "description": "What to open."},
    )

    async def perform(self, arguments: dict[str, Any]) -> str:
        action = given.choice(
            {"action": "list", **arguments}, "action", ("list", "open", "switch", "close")
        )
        if action == "open":
            has_url = arguments.get("url") is not None
            await self.client.new_tab(given.address(arguments, "url") if has_url else None)
        elif action != "list":
            tab = _chosen(await self.client.tabs(), arguments)
            if action == "switch":
                await self.client.switch_tab(tab.id)
            else:
                await self.client.close_tab(tab.id)
        tabs = await self.client.tabs()
        return "\n".join(
            f"{index}. {_described(tab)}{' (current)' if tab.is_current else ''}"
            for index, tab in enumerate(tabs, 1)
        )


class BrowserScreenshot(BrowserTool):
    """A picture of the page."""

    name = "browser_screenshot"
    description = "Take a picture of what the current page shows."
    parameters = _object([])

    async def perform(self, arguments: dict[str, Any]) -> MCPToolResult:
        return await self.view.look()


class BrowserEvaluate(BrowserTool):
    """Run JavaScript in the page."""

    name = "browser_evaluate"
    description = (
        "Run JavaScript in the current page and return the value of its last expression as JSON; "
        "await may be used."
    )
    parameters = _object(["javascript"], javascript=_TEXT)

    async def perform(self, arguments: dict[str, Any]) -> str:
        script = given.text(arguments, "javascript")
        value = await self.client.evaluate(script, max_chars=MAX_VALUE_CHARS)
        return "undefined" if value is None else json.encode(value).decode()


class BrowserDialogs(BrowserTool):
    """Say how dialogs are answered."""

    name = "browser_dialogs"
    description = (
        "Say how the page's next confirm and prompt dialogs are answered, before doing what opens "
        "them; until then they are dismissed."
    )
    parameters = _object(["answer"], answer={"type": "string", "enum": ["accept", "dismiss"]})

    async def perform(self, arguments: dict[str, Any]) -> str:
        if given.choice(arguments, "answer", ("accept", "dismiss")) == "accept":
            self.client.dialog_policy = "accept"
            return "Dialogs will be accepted."
        self.client.dialog_policy = "dismiss"
        return "Dialogs will be dismissed."


BROWSER_TOOLS: tuple[type[BrowserTool], ...] = (
    BrowserNavigate,
    BrowserRead,
    BrowserClick,
    BrowserType,
    BrowserSelect,
    BrowserPress,
    BrowserScroll,
    BrowserBack,
    BrowserTabs,
    BrowserScreenshot,
    BrowserEvaluate,
    BrowserDialogs,
)


def _node(arguments: dict[str, Any]) -> int:
    found = given.number(arguments, "node", low=1, high=1 << 53)
    if found != int(found):
        raise ToolError(f"'node' must be a whole number, not {found:g}")
    return int(found)


def _chosen(tabs: Sequence[Tab], arguments: dict[str, Any]) -> Tab:
    return tabs[round(given.number(arguments, "tab", low=1, high=len(tabs))) - 1]


def _page(tab: Tab) -> str:
    return f"The page is {_described(tab)}."


def _described(tab: Tab) -> str:
    # One line, whatever the page calls itself.
    title = " ".join(tab.title.split())
    return f"{json.encode(bounded(title, 200)).decode()} at {bounded(tab.url, 500)}"


def _bounded_lines(text: str) -> list[str]:
    lines = text.split("\n")
    size = 0
    for index, line in enumerate(lines):
        size += len(line) + 1
        if size > MAX_PAGE_CHARS:
            left = len(lines) - index
            return [
                *lines[:index],
                f"… {left} more lines are left out: browser_evaluate finds more",
            ]
    return lines
