"""A desktop over rfb as a screen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from hud._core.errors import CapabilityFault
from hud.agents.tools.screen import MAX_ZOOM, NOTCH, Box, Button, Limits, Picture, Place, Screen
from hud.capabilities.screenshots import ScreenshotEncoding, WebPScreenshotEncoding

if TYPE_CHECKING:
    from hud.agents.tools.key_names import Chord
    from hud.capabilities.rfb import RFBClient

REACTION_S = 0.4
QUIET_S = 0.15
SETTLE_S = 2.0
GRASP_S = 0.1
STEP_S = 0.02
DRAG_STEPS = 8

# What this client calls keys whose browser names it does not know.
_KEYS = {"Meta": "super", "AltGraph": "altgr", "ContextMenu": "menu", " ": "space"}


class DesktopScreen(Screen):
    """The screen of an `RFBClient`."""

    def __init__(self, client: RFBClient) -> None:
        self.client = client

    @property
    def cursor(self) -> Place:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.client.pointer.x, self.client.pointer.y

    async def picture(
        self, encoding: ScreenshotEncoding, limits: Limits, box: Box | None = None
    ) -> Picture:
        await self.client.refresh()
        whole = (self.client.width, self.client.height)
        region, scale, bound = None, None, limits.fit(whole)
        if box is not None:
            left, top = max(0, box[0]), max(0, box[1])
            width, height = min(box[2], whole[0]) - left, min(box[3], whole[1]) - top
            region, scale = (left, top, width, height), MAX_ZOOM
            bound = limits.fit((round(width * MAX_ZOOM), round(height * MAX_ZOOM)))
        is_webp = isinstance(encoding, WebPScreenshotEncoding)
        taken = await self.client.screenshot(
            "webp" if is_webp else "png",
            quality=encoding.quality if isinstance(encoding, WebPScreenshotEncoding) else 85,
            scale=scale,
            max_width=bound[0],
            max_height=bound[1],
            region=region,
        )
        return Picture(taken, taken.mime_type, (taken.width, taken.height), taken.region[2:])

    async def click(
        self, place: Place | None, button: Button, count: int, held: Sequence[str]
    ) -> None:
        x, y = place or (None, None)
        named: str = button
        await self.client.click(x, y, button=named, count=count, keys=_named(held))  # pyright: ignore[reportArgumentType] -- refused by name

    async def move(self, place: Place) -> None:
        await self.client.move(*place)

    async def mouse_down(self, place: Place | None, button: Button = "left") -> None:
        x, y = place or (None, None)
        named: str = button
        await self.client.mouse_down(x, y, button=named)  # pyright: ignore[reportArgumentType] -- refused by name

    async def mouse_up(self, place: Place | None, button: Button = "left") -> None:
        x, y = place or (None, None)
        named: str = button
        await self.client.mouse_up(x, y, button=named)  # pyright: ignore[reportArgumentType] -- refused by name

    async def drag(self, path: Sequence[Place], held: Sequence[str]) -> None:
        # Window managers and toolkits take hold of what is dragged in their own time: a drag that
        # is over before that has moved nothing.
        async with self._held(_named(held)):
            await self.client.move(*path[0])
            await self.client.wait_for_change(GRASP_S)
            await self.client.mouse_down()
            try:
                await self.client.wait_for_change(GRASP_S)
                for start, end in itertools.pairwise(path):
                    for step in range(1, DRAG_STEPS + 1):
                        await self.client.move(*_between(start, end, step / DRAG_STEPS))
                        await self.client.wait_for_change(STEP_S)
                await self.client.wait_for_change(GRASP_S)
            finally:
                await self.client.mouse_up()

    async def scroll(self, place: Place | None, right: int, down: int, held: Sequence[str]) -> None:
        x, y = place or (None, None)
        await self.client.scroll(_notches(right), _notches(down), x=x, y=y, keys=_named(held))

    async def press(self, chord: Chord, count: int = 1) -> None:
        await self.client.press(_named(chord), count=count)

    async def hold(self, chord: Chord, duration_s: float) -> None:
        async with self._held(_named(chord)):
            await asyncio.sleep(duration_s)

    @contextlib.asynccontextmanager
    async def _held(self, names: Sequence[str]) -> AsyncGenerator[None]:
        pressed: list[str] = []
        try:
            for name in names:
                await self.client.key_down(name)
                pressed.append(name)
            yield
        finally:
            for name in reversed(pressed):
                await self.client.key_up(name)

    async def type(self, text: str) -> None:
        await self.client.type(text)

    async def settle(self) -> None:
        clock = asyncio.get_running_loop().time
        end, patience = clock() + SETTLE_S, REACTION_S
        # A screen that is lost is reached again by the next picture, which says if it cannot be.
        with contextlib.suppress(CapabilityFault):
            while (left := end - clock()) > 0:
                if not await self.client.wait_for_change(min(patience, left)):
                    return
                patience = QUIET_S


def _between(start: Place, end: Place, part: float) -> Place:
    return (
        round(start[0] + (end[0] - start[0]) * part),
        round(start[1] + (end[1] - start[1]) * part),
    )


def _named(names: Sequence[str]) -> list[str]:
    return [_KEYS.get(name, name) for name in names]


def _notches(pixels: int) -> int:
    """Return notches of the wheel: one at least for any pixel at all."""
    if pixels == 0:
        return 0
    return max(1, round(abs(pixels) / NOTCH)) * (1 if pixels > 0 else -1)
