"""Choose an option of a drop-down list as a person would, without opening it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hud._core.errors import bounded
from hud.agents.tools.base import ToolError
from hud.capabilities.cdp.reply import items, record

if TYPE_CHECKING:
    from hud.capabilities.cdp import CDPClient

MAX_OPTIONS = 100

# Takes the element itself, or the list that an option or a label of it belongs to.
_CHOOSE = """function (wanted, limit) {
  const element = this.nodeType === Node.ELEMENT_NODE ? this : this.parentElement;
  const list = element?.closest("select") ?? element?.control;
  if (!(list instanceof HTMLSelectElement)) return {list: false};
  if (list.matches(":disabled")) return {list: true, disabled: true};
  const called = (option) => [option.label, option.text, option.value].map((text) => text.trim());
  const options = [...list.options];
  const named = (same) => options.find((option) =>
    !option.disabled && called(option).some((text) => same(text)));
  const found = named((text) => text === wanted.trim()) ??
    named((text) => text.toLowerCase() === wanted.trim().toLowerCase());
  if (!found) {
    const labels = options.slice(0, limit).map((option) => option.label.slice(0, 100));
    return {list: true, options: labels};
  }
  list.focus();
  if (list.multiple) found.selected = true; else list.selectedIndex = found.index;
  for (const type of ["input", "change"]) list.dispatchEvent(new Event(type, {bubbles: true}));
  return {list: true, chosen: true};
}"""


async def select_option(client: CDPClient, node: int, option: str) -> None:
    """Choose the option of this label (or value) in a list of the page.

    Raises:
        ToolError: when the element is no list, or has no such option.
        CDPError: when it is gone.
    """
    resolved = await client.send("DOM.resolveNode", {"backendNodeId": node})
    held = record(resolved, "object")
    reply = await client.send(
        "Runtime.callFunctionOn",
        {
            "objectId": held.get("objectId"),
            "functionDeclaration": _CHOOSE,
            "arguments": [{"value": option}, {"value": MAX_OPTIONS}],
            "returnByValue": True,
        },
    )
    told = record(record(reply, "result"), "value")
    if told.get("chosen"):
        return
    if told.get("disabled"):
        raise ToolError(f"element {node} is disabled")
    if not told.get("list"):
        raise ToolError(
            f"element {node} is no drop-down list of the browser's own: click it, then click what "
            "it shows"
        )
    known = ", ".join(str(each) for each in items(told, "options")) or "none"
    raise ToolError(f"there is no option {bounded(option)!r}; there are: {bounded(known, 2_000)}")
