"""Find an element by selector or by its node number, bring it into view, and say where it is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from hud._core.errors import bounded
from hud.capabilities.cdp.connection import Params
from hud.capabilities.cdp.errors import CDPError
from hud.capabilities.cdp.page import Page
from hud.capabilities.cdp.reply import items, record
from hud.capabilities.cdp.script import find_apart, run_apart

_FIND = "(selector) => document.querySelector(selector)"
# Waits by being told of changes; the page's own scripts do not see the observer.
_APPEAR = """(selector, limit) => new Promise((resolve) => {
  const there = () => document.querySelector(selector)?.getClientRects().length > 0;
  if (there()) return resolve(true);
  const done = (found) => { observer.disconnect(); clearTimeout(timer); resolve(found); };
  const observer = new MutationObserver(() => there() && done(true));
  const timer = setTimeout(() => done(there()), limit);
  observer.observe(document, {
    subtree: true, childList: true, attributes: true, characterData: true});
})"""
_MARGIN_S = 5.0
# What a call is answered with whose document is gone.
_SERVER_ERROR = -32000


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in CSS pixels of the viewport, as `click` takes them."""

    x: float
    y: float
    width: float
    height: float

    @property
    def center(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


async def wait_for(page: Page, selector: str, timeout_s: float) -> None:
    """Wait until an element that matches has a box, also across a change of the page.

    Raises:
        CDPError: when none does in time, or the selector is none.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + timeout_s
    late = f"nothing matched {bounded(selector)!r} within {timeout_s:g} s"
    while True:
        moves, left = page.moves, max(end - clock(), 0.0)
        try:
            found = await run_apart(
                page, _APPEAR, selector, left * 1_000, timeout_s=left + _MARGIN_S
            )
        except CDPError as error:
            if error.cdp_code != _SERVER_ERROR:
                raise
            # The document that was looked at gives way to another one.
            await page.until(lambda moves=moves: page.moves > moves, max(end - clock(), 0.0), late)
            continue
        if not found:
            raise CDPError(late)
        return


async def object_of(page: Page, selector: str) -> Params:
    """Return what names the first matching element in a call.

    Raises:
        CDPError: when nothing matches, or the selector is none.
    """
    found = await find_apart(page, _FIND, selector)
    if found is None:
        raise CDPError(f"nothing on the page matches {bounded(selector)!r}")
    return {"objectId": found}


async def point_of(page: Page, selector: str | None, node: int | None) -> tuple[float, float]:
    """Bring an element into view and return the middle of what can be seen of it.

    Raises:
        CDPError: when it is not there, or has no box.
    """
    if selector is not None:
        named, shown = await object_of(page, selector), repr(bounded(selector))
    else:
        named, shown = {"backendNodeId": node}, f"node {node}"
    try:
        await page.call("DOM.scrollIntoViewIfNeeded", named)
        reply = await page.call("DOM.getContentQuads", named)
    except CDPError as error:
        if error.cdp_code is None:
            raise
        raise CDPError(f"{shown} cannot be seen: {error.message}") from error
    finally:
        if "objectId" in named and not page.is_gone:
            page.post("Runtime.releaseObject", named)
    box = box_of(reply)
    if box is None:
        raise CDPError(f"{shown} has no size on the page")
    width, height = await viewport(page)
    left, right = max(box.x, 0.0), min(box.x + box.width, width)
    top, bottom = max(box.y, 0.0), min(box.y + box.height, height)
    if left >= right or top >= bottom:
        raise CDPError(f"{shown} is outside of what can be seen")
    return (left + right) / 2, (top + bottom) / 2


async def viewport(page: Page) -> tuple[int, int]:
    """Return width and height of what the page shows, in CSS pixels."""
    metrics = await page.call("Page.getLayoutMetrics")
    view = record(metrics, "cssLayoutViewport")
    return int(view.get("clientWidth", 0)), int(view.get("clientHeight", 0))


def box_of(reply: Params) -> Box | None:
    """Return the rectangle around the first quad that has an area, or None."""
    for quad in cast("Sequence[Sequence[float]]", items(reply, "quads")):
        xs, ys = quad[0::2], quad[1::2]
        box = Box(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
        if box.width > 0 and box.height > 0 and all(map(math.isfinite, (*xs, *ys))):
            return box
    return None
