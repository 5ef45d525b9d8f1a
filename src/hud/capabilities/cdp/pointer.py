"""Move, click, drag and scroll with the mouse, in CSS pixels of the viewport."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from hud.capabilities.cdp.connection import Params
from hud.capabilities.cdp.errors import CDPError
from hud.capabilities.cdp.keyboard import press_all
from hud.capabilities.cdp.page import Page

Button = Literal["left", "middle", "right", "back", "forward"]
Point = tuple[float, float]

_MASKS: dict[str, int] = {"left": 1, "right": 2, "middle": 4, "back": 8, "forward": 16}
_FAR = 100_000.0
_MOUSE = "Input.dispatchMouseEvent"
_DRAG = "Input.dispatchDragEvent"
_DROP = ("dragEnter", "dragOver", "drop")


async def move(page: Page, point: Point, modifiers: int = 0) -> None:
    """Move the pointer there."""
    await press_all(page, [_to(page, point, modifiers)])


async def click(page: Page, point: Point, button: Button, count: int, modifiers: int) -> None:
    """Move the pointer there and click `count` times, as a double or triple click.

    Raises:
        CDPError: when the point is none, or the page goes away or stops answering.
    """
    if not 1 <= count <= 10:
        raise CDPError(f"cannot click {count} times at once", hint="1 to 10 clicks")
    calls = [_to(page, point, modifiers)]
    for number in range(1, count + 1):
        for kind, held in (("mousePressed", _mask(button)), ("mouseReleased", 0)):
            calls.append(_event(kind, point, button, held, modifiers, number))
    await press_all(page, calls)


async def press(page: Page, point: Point, button: Button, modifiers: int = 0) -> None:
    """Move the pointer there, press a button and keep it held."""
    calls = [_to(page, point, modifiers)]
    page.buttons |= _mask(button)
    calls.append(_event("mousePressed", point, button, page.buttons, modifiers, 1))
    await press_all(page, calls)


async def release(page: Page, point: Point, button: Button, modifiers: int = 0) -> None:
    """Move the pointer there and let go of a button."""
    calls = [_to(page, point, modifiers)]
    page.buttons &= ~_mask(button)
    calls.append(_event("mouseReleased", point, button, page.buttons, modifiers, 1))
    await press_all(page, calls)


async def drag(page: Page, path: Sequence[Point], steps: int, modifiers: int) -> None:
    """Press the left button, move along a path in `steps` per leg, and let go at its end.

    An element that can be dragged and dropped is dropped there.

    Raises:
        CDPError: when the path has fewer than two points, or a point is none.
    """
    if len(path) < 2:
        raise CDPError("a drag needs at least two points")
    start, *_, end = path
    parts = [step / max(steps, 2) for step in range(1, max(steps, 2) + 1)]
    legs = itertools.pairwise([_checked(point) for point in path])
    points = [
        (x0 + (x1 - x0) * part, y0 + (y1 - y0) * part)
        for (x0, y0), (x1, y1) in legs
        for part in parts
    ][:-1]
    held = _MASKS["left"]
    page.dragged = None
    await page.call("Input.setInterceptDrags", {"enabled": True})
    try:
        await press_all(page, [_to(page, start, modifiers)])
        await press_all(page, [_event("mousePressed", start, "left", held, modifiers, 1)])
        for point in points:
            # One by one, or the browser makes a single move of them.
            if page.dragged is None:
                await press_all(page, [_event("mouseMoved", point, "left", held, modifiers)])
        page.mouse = _checked(end)
        if page.dragged is None:
            await press_all(page, [_event("mouseMoved", end, "left", held, modifiers)])
        if page.dragged is not None:
            await press_all(page, [_dropping(kind, end, page.dragged, modifiers) for kind in _DROP])
        await press_all(page, [_event("mouseReleased", end, "left", 0, modifiers, 1)])
    finally:
        if not page.is_gone:
            page.post("Input.setInterceptDrags", {"enabled": False})


async def scroll(page: Page, point: Point | None, dx: float, dy: float, modifiers: int) -> None:
    """Turn the wheel by so many pixels, to the right and down, over a point."""
    at = _checked(point if point is not None else page.mouse)
    wheel = _event("mouseWheel", at, "none", 0, modifiers)
    wheel[1].update(deltaX=_number(dx), deltaY=_number(dy))
    await press_all(page, [_to(page, at, modifiers), wheel])


def _to(page: Page, point: Point, modifiers: int) -> tuple[str, Params]:
    page.mouse = _checked(point)
    held = next((name for name, bit in _MASKS.items() if page.buttons & bit), "none")
    return _event("mouseMoved", point, held, page.buttons, modifiers)


def _event(
    kind: str, point: Point, button: str, held: int, modifiers: int, count: int = 0
) -> tuple[str, Params]:
    x, y = _checked(point)
    return _MOUSE, {
        "type": kind,
        "x": x,
        "y": y,
        "button": button,
        "buttons": held,
        "modifiers": modifiers,
        "clickCount": count,
    }


def _dropping(kind: str, point: Point, data: Params, modifiers: int) -> tuple[str, Params]:
    x, y = _checked(point)
    return _DRAG, {"type": kind, "x": x, "y": y, "data": data, "modifiers": modifiers}


def _mask(button: str) -> int:
    if button not in _MASKS:
        raise CDPError(f"no mouse button {button!r}", hint=f"buttons: {', '.join(_MASKS)}")
    return _MASKS[button]


def _checked(point: Point) -> Point:
    return _number(point[0]), _number(point[1])


def _number(value: float) -> float:
    number = float(value)
    if not math.isfinite(number) or abs(number) > _FAR:
        raise CDPError(f"{value!r} is no place on a page")
    return number
