"""What a page is to assistive technology: roles, names, states and places, in reading order.

Names are whatever the page says. They are kept as they are in the rows, and escaped where the
tree is written as lines, so that no name can pass for another line.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hud._core.errors import bounded
from hud.capabilities.cdp.connection import Params
from hud.capabilities.cdp.elements import Box, box_of
from hud.capabilities.cdp.errors import CDPError
from hud.capabilities.cdp.page import Page
from hud.capabilities.cdp.reply import items, record, records
from hud.capabilities.cdp.script import run_apart

_ELEMENTS_LIMIT = 50_000
_CHARS_LIMIT = 16 << 20
_FRAMES_LIMIT = 50
_SIZE = """() => [document.getElementsByTagName("*").length,
  (document.documentElement?.textContent ?? "").length]"""
# Structure without meaning of its own: its children stand in its place.
_HOLLOW = {"none", "generic", "presentation", "InlineTextBox", "LineBreak", "ignored"}
_STATES = (
    "checked", "disabled", "expanded", "focused", "invalid", "level", "modal", "multiselectable",
    "pressed", "readonly", "required", "selected", "url",
)  # fmt: skip
_UNTOLD = (False, "false", None, "")


@dataclass(frozen=True, slots=True)
class AXNode:
    """One node that means something.

    Attributes:
        node: Its number, which `click(node=…)` takes; 0 when it has none.
        role: What it is (`button`, `link`, `heading`, `StaticText`, …).
        name: What it is called, cut to the tree's `max_text`.
        value: What it holds (the text of a field), cut likewise.
        states: What else is true of it (`checked`, `disabled`, `level`, `url`, …).
        depth: How many nodes of this tree it lies in.
        box: Where it is in the viewport, in CSS pixels; None when it takes no space.
    """

    node: int
    role: str
    name: str
    value: str
    depth: int
    states: Mapping[str, Any] = field(default_factory=dict[str, Any])
    box: Box | None = None

    def __str__(self) -> str:
        parts = ["  " * self.depth + f"- {_plain(self.role)}"]
        if self.name:
            parts.append(quoted(self.name))
        if self.value:
            parts.append(f"= {quoted(self.value)}")
        parts += [_state(name, value) for name, value in self.states.items()]
        if self.node:
            parts.append(f"[{self.node}]")
        if self.box is not None:
            box = self.box
            parts.append(f"({box.x:.0f},{box.y:.0f} {box.width:.0f}x{box.height:.0f})")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class AccessibilityTree:
    """The nodes of a page in reading order; `str()` writes one per line, indented.

    Attributes:
        nodes: The nodes.
        truncated: Whether there were more than asked for.
    """

    nodes: tuple[AXNode, ...]
    truncated: bool

    def __str__(self) -> str:
        lines = [str(node) for node in self.nodes]
        return "\n".join([*lines, "- …"] if self.truncated else lines)


async def read_tree(
    page: Page, *, max_nodes: int, max_text: int, boxes: bool, timeout_s: float
) -> AccessibilityTree:
    """Read the tree of the page and of its frames.

    Raises:
        CDPError: when the page is too large for it, or does not answer.
    """
    elements, characters = await run_apart(page, _SIZE, timeout_s=timeout_s)
    if elements > _ELEMENTS_LIMIT or characters > _CHARS_LIMIT:
        raise CDPError(
            f"the page is too large for its accessibility tree: {elements} elements, "
            f"{characters} characters",
            hint="use text(), a screenshot, or evaluate()",
        )
    forest = await _forest(page, timeout_s)
    rows = _rows(forest, page.frame_id, 0, max_text)
    held: list[AXNode] = []
    for row in rows:
        if len(held) == max_nodes:
            rows.close()
            return AccessibilityTree(tuple(await _placed(page, held, boxes)), truncated=True)
        held.append(row)
    return AccessibilityTree(tuple(await _placed(page, held, boxes)), truncated=False)


@dataclass(slots=True)
class _Forest:
    """The raw trees by frame, and which element holds which frame."""

    nodes: dict[str, dict[str, Params]]
    roots: dict[str, str]
    owners: dict[int, str]


async def _forest(page: Page, timeout_s: float) -> _Forest:
    reply = await page.call("Page.getFrameTree", timeout_s=timeout_s)
    frames = list(_frames(record(reply, "frameTree")))[:_FRAMES_LIMIT]
    forest = _Forest({}, {}, {})
    for frame_id in frames:
        try:
            reply = await page.call(
                "Accessibility.getFullAXTree", {"frameId": frame_id}, timeout_s=timeout_s
            )
            if frame_id != frames[0]:
                owner = await page.call("DOM.getFrameOwner", {"frameId": frame_id})
                forest.owners[int(owner["backendNodeId"])] = frame_id
        except CDPError as error:
            # A frame may go away between being listed and being read.
            if frame_id == frames[0] or error.cdp_code is None:
                raise
            continue
        nodes = records(reply, "nodes")
        forest.nodes[frame_id] = {node["nodeId"]: node for node in nodes}
        root = next((node["nodeId"] for node in nodes if not node.get("parentId")), None)
        if root is not None:
            forest.roots[frame_id] = root
    if frames:
        forest.roots[page.frame_id] = forest.roots.get(frames[0], "")
        forest.nodes[page.frame_id] = forest.nodes.get(frames[0], {})
    return forest


def _frames(tree: Params) -> Iterator[str]:
    yield str(tree["frame"]["id"])
    for child in records(tree, "childFrames"):
        yield from _frames(child)


def _rows(
    forest: _Forest, frame_id: str, depth: int, max_text: int
) -> Generator[AXNode, None, None]:
    """Yield the nodes that mean something, in reading order."""
    stack: list[tuple[str, str, int, str]] = [(frame_id, forest.roots.get(frame_id, ""), depth, "")]
    seen: set[tuple[str, str]] = set()
    while stack:
        frame, node_id, depth, above = stack.pop()
        raw = forest.nodes.get(frame, {}).get(node_id)
        if raw is None or (frame, node_id) in seen:
            continue
        seen.add((frame, node_id))
        row = None if raw.get("ignored") else _row(raw, depth, max_text)
        if row is not None and row.role == "StaticText" and row.name in above:
            row = None
        if row is not None:
            yield row
            depth, above = depth + 1, row.name
        below = forest.owners.get(int(raw.get("backendDOMNodeId") or 0))
        if below is not None:
            stack.append((below, forest.roots.get(below, ""), depth, ""))
        children = [str(child) for child in items(raw, "childIds")]
        stack += [(frame, child, depth, above) for child in reversed(children)]


def _row(raw: Params, depth: int, max_text: int) -> AXNode | None:
    role = str(_held(raw, "role") or "")
    name, value = (_text(_held(raw, key), max_text) for key in ("name", "value"))
    if role != "StaticText":
        name = name.strip()  # labels are called by their text, blanks at its ends included
    told = {str(item["name"]): _held(item, "value") for item in records(raw, "properties")}
    if role in _HOLLOW and not (name and told.get("focusable")):
        return None
    if role == "StaticText" and not name.strip():
        return None
    states = {
        key: bounded(told[key], max_text) if isinstance(told[key], str) else told[key]
        for key in _STATES
        if told.get(key) not in _UNTOLD
    }
    return AXNode(int(raw.get("backendDOMNodeId") or 0), role, name, value, depth, states)


async def _placed(page: Page, rows: list[AXNode], boxes: bool) -> list[AXNode]:
    if not boxes:
        return rows
    calls: list[tuple[str, Params]] = [
        ("DOM.getContentQuads", {"backendNodeId": row.node}) for row in rows
    ]
    found = await page.call_all(calls)
    return [
        row if isinstance(reply, CDPError) else replace(row, box=box_of(reply))
        for row, reply in zip(rows, found, strict=True)
    ]


def _held(raw: Params, key: str) -> Any:
    return record(raw, key).get("value")


def _text(value: object, limit: int) -> str:
    if value is None:
        return ""
    return bounded(value if isinstance(value, str) else str(value), limit)


def _state(name: str, value: Any) -> str:
    return name if value in (True, "true") else f"{name}={_plain(str(value))}"


def _plain(text: str) -> str:
    """Return a word as it is, and anything else quoted."""
    return text if text.isascii() and text.isprintable() and " " not in text else quoted(text)


def quoted(text: str) -> str:
    """Return `text` in quotes, with everything that is not plainly visible escaped."""
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1]
        for character in json.dumps(text, ensure_ascii=False)
    )
