"""The page of a browser over cdp as a screen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hud.agents.tools.screen import (
    MAX_ZOOM,
    Box,
    Button,
    Limits,
    Picture,
    Place,
    Screen,
    Size,
    sentence,
)
from hud.capabilities.cdp.errors import CDPError
from hud.capabilities.screenshots import ScreenshotEncoding, WebPScreenshotEncoding

if TYPE_CHECKING:
    from hud.agents.tools.key_names import Chord
    from hud.capabilities.cdp import CDPClient
    from hud.capabilities.cdp.dialogs import Dialog

PATIENCE_S = 5.0


class Dialogs:
    """Which dialogs of a browser's pages have been told of."""

    def __init__(self, client: CDPClient) -> None:
        self._client = client
        self._known = client.dialogs

    def fresh(self) -> list[str]:
        """Return a sentence for each dialog that opened since the last call."""
        listed = self._client.dialogs
        new = [each for each in listed if not any(each is known for known in self._known)]
        self._known = listed
        return [_sentence(dialog) for dialog in new]


class PageScreen(Screen):
    """What a `CDPClient` shows of its current page."""

    def __init__(self, client: CDPClient) -> None:
        self.client = client
        self.cursor: Place = (0, 0)
        self._dialogs = Dialogs(client)
        self._lost: list[str] = []
        self._size: Size | None = None

    async def picture(
        self, encoding: ScreenshotEncoding, limits: Limits, box: Box | None = None
    ) -> Picture:
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            return await self._picture(encoding, limits, box)
        except CDPError as error:
            if clock() - begun > PATIENCE_S:
                raise
            # A page that crashed or closed is told of once, and another one takes its place.
            self._lost.append(sentence(error))
            return await self._picture(encoding, limits, box)

    async def _picture(
        self, encoding: ScreenshotEncoding, limits: Limits, box: Box | None
    ) -> Picture:
        if box is not None:
            left, top, right, bottom = box
            clip = (float(left), float(top), float(right - left), float(bottom - top))
            bound = limits.fit((round(clip[2] * MAX_ZOOM), round(clip[3] * MAX_ZOOM)))
            return await self._take(encoding, bound, clip)
        size = self._size or await self.client.viewport()
        taken = await self._take(encoding, limits.fit(size))
        if taken.shown != size:  # the window has become another one
            taken = await self._take(encoding, limits.fit(taken.shown))
        self._size = taken.shown
        return taken

    async def _take(
        self,
        encoding: ScreenshotEncoding,
        bound: Size,
        clip: tuple[float, float, float, float] | None = None,
    ) -> Picture:
        is_webp = isinstance(encoding, WebPScreenshotEncoding)
        taken = await self.client.screenshot(
            format="webp" if is_webp else "png",
            quality=encoding.quality if isinstance(encoding, WebPScreenshotEncoding) else None,
            clip=clip,
            scale=MAX_ZOOM if clip else 1.0,
            max_size=bound,
        )
        shown = round(taken.shown[0]), round(taken.shown[1])
        return Picture(taken, encoding.mime_type, (taken.width, taken.height), shown)

    async def click(
        self, place: Place | None, button: Button, count: int, held: Sequence[str]
    ) -> None:
        self.cursor = place or self.cursor
        await self.client.click(*self.cursor, button=button, count=count, modifiers=held)

    async def move(self, place: Place) -> None:
        self.cursor = place
        await self.client.move(*place)

    async def mouse_down(self, place: Place | None, button: Button = "left") -> None:
        self.cursor = place or self.cursor
        await self.client.mouse_down(*self.cursor, button=button)

    async def mouse_up(self, place: Place | None, button: Button = "left") -> None:
        self.cursor = place or self.cursor
        await self.client.mouse_up(*self.cursor, button=button)

    async def drag(self, path: Sequence[Place], held: Sequence[str]) -> None:
        await self.client.drag(path[0], path[-1], through=path[1:-1], modifiers=held)
        self.cursor = path[-1]

    async def scroll(self, place: Place | None, right: int, down: int, held: Sequence[str]) -> None:
        self.cursor = place or self.cursor
        await self.client.scroll(*self.cursor, dx=right, dy=down, modifiers=held)

    async def press(self, chord: Chord, count: int = 1) -> None:
        await self.client.press(*["+".join(chord)] * count)

    async def hold(self, chord: Chord, duration_s: float) -> None:
        await self.client.hold("+".join(chord), duration_s)

    async def type(self, text: str) -> None:
        await self.client.type(text)

    async def settle(self) -> None:
        try:
            await self.client.settle()
        except CDPError as error:
            self._lost.append(sentence(error))

    def notices(self) -> list[str]:
        lost, self._lost = self._lost, []
        return [*self._dialogs.fresh(), *lost]


def _sentence(dialog: Dialog) -> str:
    done = {True: "accepted", False: "dismissed", None: "left open"}[dialog.accepted]
    return f"The page opened a dialog ({dialog.kind}), which was {done}. It says: {dialog.message}"
