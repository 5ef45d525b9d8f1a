"""Type text and press keys in a page, with the events a person at a keyboard causes."""

from __future__ import annotations

import asyncio
from itertools import groupby

from hud.capabilities.cdp.connection import Params
from hud.capabilities.cdp.errors import CDPError, DialogOpen, PageGone
from hud.capabilities.cdp.keys import MODIFIERS, Chord, Key, key_for, mask, modifier_key
from hud.capabilities.cdp.page import Page

_TOGETHER = 100
# Events are acknowledged before a dialog they open is told of; a script comes after both.
_HANDLED: tuple[str, Params] = ("Runtime.evaluate", {"expression": "0"})


async def type_text(page: Page, text: str) -> None:
    """Type into what has the focus; characters no US keyboard has are put in as they are.

    Raises:
        CDPError: when the page goes away or stops answering.
    """
    text = text.replace("\r\n", "\n")
    for on_keyboard, run in groupby(text, lambda character: key_for(character) is not None):
        characters = "".join(run)
        if not on_keyboard:
            await press_all(page, [("Input.insertText", {"text": characters})])
            continue
        for start in range(0, len(characters), _TOGETHER):
            calls: list[tuple[str, Params]] = []
            for character in characters[start : start + _TOGETHER]:
                key = key_for(character)
                if key is not None:
                    calls += _stroke(key, MODIFIERS["Shift"] if key.shifted else 0)
            await press_all(page, calls)


async def press(page: Page, chord: Chord) -> None:
    """Hold the chord's modifiers, press its key, and let go of all of them."""
    down, up = _strokes(chord)
    await press_all(page, [*down, *up])


async def hold(page: Page, chord: Chord, duration_s: float) -> None:
    """Press a chord's keys, and let go of them after a while, also when cancelled."""
    down, up = _strokes(chord)
    try:
        await press_all(page, down)
        await asyncio.sleep(duration_s)
    except asyncio.CancelledError:
        if not page.is_gone:
            for method, params in up:
                page.post(method, params)
        raise
    await press_all(page, up)


def _strokes(chord: Chord) -> tuple[list[tuple[str, Params]], list[tuple[str, Params]]]:
    """Return what presses all keys of a chord, and what lets go of them."""
    held: tuple[str, ...] = ()
    down: list[tuple[str, Params]] = []
    up: list[tuple[str, Params]] = []
    for name in chord.modifiers:
        up.insert(0, _event("keyUp", modifier_key(name), mask(held)))
        held = (*held, name)
        down.append(_event("rawKeyDown", modifier_key(name), mask(held)))
    pressed, released = _stroke(chord.key, chord.mask)
    return [*down, pressed], [released, *up]


async def press_all(page: Page, calls: list[tuple[str, Params]]) -> None:
    """Send input events in order, and wait until the page's handlers have run.

    An event that opened a dialog, or closed its tab, has done its work.
    """
    sent = not page.is_gone
    try:
        results = await page.call_all([*calls, _HANDLED])
    except DialogOpen:
        return
    except PageGone:
        if page.has_crashed or not sent:
            raise
        return
    # Where an event led to another page, whether the old one's handlers have ended is moot.
    for result in results[:-1]:
        if isinstance(result, CDPError):
            raise result


def _stroke(key: Key, modifiers: int) -> list[tuple[str, Params]]:
    types = key.text and not modifiers & ~MODIFIERS["Shift"]
    down = _event("keyDown" if types else "rawKeyDown", key, modifiers)
    if types:
        down[1].update(text=key.text, unmodifiedText=key.text)
    return [down, _event("keyUp", key, modifiers)]


def _event(kind: str, key: Key, modifiers: int) -> tuple[str, Params]:
    params: Params = {
        "type": kind,
        "modifiers": modifiers,
        "key": key.value,
        "code": key.code,
        "windowsVirtualKeyCode": key.number,
    }
    if key.value in MODIFIERS:
        params["location"] = 1
    return "Input.dispatchKeyEvent", params
