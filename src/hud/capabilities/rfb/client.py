"""The client of a screen: what an agent sees and does there.

The bytes are `connection` and `reading`; which number a key has is `keys`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from hud._core.errors import CapabilityFault, InputError, bounded
from hud.capabilities.base import CapabilityClient
from hud.capabilities.rfb import keys as keyboard
from hud.capabilities.rfb import wire
from hud.capabilities.rfb.connection import Connection, Dial, Terms
from hud.capabilities.rfb.errors import RFBError
from hud.capabilities.rfb.picture import (
    PngScreenshotEncoding,
    Region,
    Screenshot,
    ScreenshotEncoding,
    ScreenshotMimeType,
    WebPScreenshotEncoding,
    encode,
    size_of,
)
from hud.capabilities.rfb.pointer import Button, Place, Pointer
from hud.protocol.capability import Capability

CONNECT_S = 20.0
ANSWER_S = 20.0
RECONNECT_S = 5.0
SPARE_KEYS = 12
"""How many characters that no key has are typed by giving a spare key that character.

Servers have about 20 spare keys for as long as they run and drop what exceeds them, silently.
A row may promise more (`spare_keys` in its params).
"""
_RETRY_PAUSE_S = 0.1
_PASTED_S = 3.0
_KEYS_AT_ONCE = 256


class RFBClient(CapabilityClient):
    """A screen with pointer, keyboard and clipboard.

    Places are pixels of the screen from its upper left corner. An action returns once it has left
    this process; the server performs actions in order, and a screenshot shows what it had shown
    after all earlier ones, though not what a program has yet to draw in answer.

    When the server hangs up, the next call connects again, for up to 5 seconds.
    """

    protocol: ClassVar[str] = "rfb/3.8"

    def __init__(self, capability: Capability, link: Connection, terms: Terms) -> None:
        self.capability = capability
        self.link = link
        self.pointer = Pointer()
        self.is_closed = False
        self._terms = terms
        self._held: list[int] = []
        self._added: set[str] = set()
        self._conn: Any = None
        self._taken: tuple[object, Screenshot] | None = None
        self._reconnecting = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        cap: Capability,
        *,
        dial: Dial | None = None,
        connect_timeout_s: float = CONNECT_S,
        answer_timeout_s: float = ANSWER_S,
    ) -> Self:
        """Connect to the screen at `cap.url` and fetch what it shows.

        Args:
            cap: The row; `params["password"]` is used when the server asks for one.
            dial: Returns a new connection to the server, where the row's address is not to be used.
            connect_timeout_s: How long connecting may take altogether.
            answer_timeout_s: How long the server may take to answer later on.

        Raises:
            CapabilityFault: when there is no such screen.
            InputError: when the row cannot be used.
        """
        if cap.address is None:
            raise InputError(
                f"capability {cap.name!r} has no address to dial: {bounded(cap.url)!r}",
                hint="rfb://HOST:PORT",
            )
        terms = Terms(connect_timeout_s, answer_timeout_s, dial)
        return cls(cap, await _open(cap, terms), terms)

    @property
    def conn(self) -> Any:
        """The same screen as an `asyncvnc.Client`, for code written against that library.

        Raises:
            InputError: when asyncvnc is not installed.
        """
        if self._conn is None:
            try:
                from hud.capabilities.rfb.bare import BareClient
            except ModuleNotFoundError as error:
                raise InputError(
                    f"RFBClient.conn needs the Python package {error.name}",
                    hint="pip install 'hud-python[rfb]'",
                ) from error
            self._conn = BareClient(self)
        return self._conn

    @property
    def width(self) -> int:
        """Width of the screen in pixels."""
        return self.link.frame.width

    @property
    def height(self) -> int:
        """Height of the screen in pixels."""
        return self.link.frame.height

    async def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            if not self.link.is_lost and (self._held or self.pointer.buttons):
                self._release_all()
        await self.link.close()

    # Looking.

    async def refresh(self) -> None:
        """Bring the pixels up to date with the server.

        Raises:
            CapabilityFault: when it does not answer.
        """
        link = await self._live()
        try:
            await link.refresh()
        except CapabilityFault:
            if not link.is_lost:
                raise
            await (await self._live()).refresh()

    async def screenshot(
        self,
        format: Literal["png", "webp"] = "png",
        *,
        quality: int = 85,
        scale: float | None = None,
        max_width: int | None = None,
        max_height: int | None = None,
        region: Region | None = None,
    ) -> Screenshot:
        """Return a picture of the screen as it is now.

        The picture is `bytes` that know their size and the place of their pixels on the screen
        (`Screenshot.to_screen`).

        Args:
            format: PNG is exact, WebP smaller.
            quality: Of a WebP, 0 to 100.
            scale: Factor of both sides.
            max_width, max_height: The picture is scaled down until it fits.
            region: Left, top, width and height of the part to show.

        Raises:
            CapabilityFault: when the server does not answer.
            RFBError: when the region is not on the screen, or the format unknown.
        """
        if format not in ("png", "webp"):
            raise RFBError(f"unknown screenshot format {bounded(format)!r}", hint="png or webp")
        await self.refresh()
        link = self.link
        shown = self._region(region)
        size = size_of(shown, scale, max_width, max_height)
        mime: ScreenshotMimeType = "image/png" if format == "png" else "image/webp"
        key = (link, link.frame.version, shown, size, mime, quality)
        if self._taken is not None and self._taken[0] == key:
            return self._taken[1]
        left, top, width, height = shown
        image = link.frame.image.crop((left, top, left + width, top + height))
        data = await asyncio.to_thread(encode, image, size, mime, quality)
        taken = Screenshot.of(data, mime, size, shown)
        self._taken = (key, taken)
        return taken

    async def screenshot_png(
        self, encoding: ScreenshotEncoding | ScreenshotMimeType = "image/png"
    ) -> tuple[bytes, ScreenshotMimeType]:
        """Return a picture of the whole screen and its media type.

        Raises:
            CapabilityFault: when the server does not answer.
        """
        if isinstance(encoding, str):
            webp = encoding == "image/webp"
            encoding = WebPScreenshotEncoding() if webp else PngScreenshotEncoding()
        if isinstance(encoding, WebPScreenshotEncoding):
            taken = await self.screenshot("webp", quality=encoding.quality)
        else:
            taken = await self.screenshot("png")
        return taken, taken.mime_type

    async def wait_for_change(self, timeout_s: float = 10.0) -> bool:
        """Wait until the screen differs from what was seen last; False when it does not.

        Raises:
            CapabilityFault: when the connection breaks.
        """
        link = await self._live()
        return await link.wait_for_change(link.frame.version, timeout_s)

    # The pointer.

    async def move(self, x: float, y: float) -> None:
        """Put the pointer at a place.

        Raises:
            RFBError: when the place is outside the screen.
        """
        await self._act(lambda size: self.pointer.move((x, y), size))

    async def click(
        self,
        x: float | None = None,
        y: float | None = None,
        *,
        button: Button = "left",
        count: int = 1,
        keys: str | Iterable[str] | None = None,
    ) -> None:
        """Click at a place, or where the pointer is.

        Args:
            x, y: Both, or neither.
            button: Which one.
            count: 2 for a double click.
            keys: Keys to hold meanwhile, such as `"ctrl"`.

        Raises:
            RFBError: when the place is outside the screen, or a name unknown.
        """
        place = _place(x, y)

        def clicked(size: tuple[int, int]) -> bytes:
            moved = b"" if place is None else self.pointer.move(place, size)
            return _holding(keys, moved + self.pointer.click(button, count))

        await self._act(clicked)

    async def mouse_down(
        self, x: float | None = None, y: float | None = None, *, button: Button = "left"
    ) -> None:
        """Press a button and keep it held.

        Raises:
            RFBError: when the place is outside the screen, or the button unknown.
        """
        place = _place(x, y)
        await self._act(
            lambda size: (
                (b"" if place is None else self.pointer.move(place, size))
                + self.pointer.press(button)
            )
        )

    async def mouse_up(
        self, x: float | None = None, y: float | None = None, *, button: Button = "left"
    ) -> None:
        """Let go of a button.

        Raises:
            RFBError: when the place is outside the screen, or the button unknown.
        """
        place = _place(x, y)
        await self._act(
            lambda size: (
                (b"" if place is None else self.pointer.move(place, size))
                + self.pointer.release(button)
            )
        )

    async def drag(
        self,
        path: Sequence[Place],
        *,
        button: Button = "left",
        keys: str | Iterable[str] | None = None,
    ) -> None:
        """Drag along a path of two places or more.

        Raises:
            RFBError: when a place is outside the screen, or a name unknown.
        """
        await self._act(lambda size: _holding(keys, self.pointer.drag(path, size, button)))

    async def scroll(
        self,
        dx: int = 0,
        dy: int = 0,
        *,
        x: float | None = None,
        y: float | None = None,
        keys: str | Iterable[str] | None = None,
    ) -> None:
        """Turn the wheel: `dx` notches to the right, `dy` downwards; negative for the other way.

        Raises:
            RFBError: when the place is outside the screen, or the notches too many.
        """
        place = _place(x, y)

        def scrolled(size: tuple[int, int]) -> bytes:
            moved = b"" if place is None else self.pointer.move(place, size)
            return _holding(keys, moved + self.pointer.scroll(dx, dy))

        await self._act(scrolled)

    # The keyboard.

    async def press(self, keys: str | Iterable[str], *, count: int = 1) -> None:
        """Press keys together and release them: `"ctrl+shift+t"`, `"Enter"`, `["alt", "F4"]`.

        Raises:
            RFBError: when a key is unknown.
        """
        chord = keyboard.chord(keys)
        if not 1 <= count <= 1000:
            raise RFBError(f"cannot press keys {bounded(count)} times", hint="1 to 1000")
        await self._act(lambda _: _chord(chord) * count)

    async def key_down(self, key: str) -> None:
        """Press a key and keep it held, until `key_up` or `close`.

        Raises:
            RFBError: when the key is unknown.
        """
        number = keyboard.keysym(key)
        self._held.append(number)
        await self._act(lambda _: wire.key_event(number, True))

    async def key_up(self, key: str) -> None:
        """Release a key.

        Raises:
            RFBError: when the key is unknown.
        """
        number = keyboard.keysym(key)
        if number in self._held:
            self._held.remove(number)
        await self._act(lambda _: wire.key_event(number, False))

    async def type(
        self, text: str, *, how: Literal["auto", "keys", "paste"] = "auto", interval_s: float = 0
    ) -> None:
        """Type a text of any characters into what has the keyboard's focus.

        A server types characters that no key has by changing spare keys, of which it has few.
        A text that needs more of them than there may be is pasted instead, with shift+Insert,
        where the server's clipboard takes any text; it is then the clipboard's content.

        Args:
            text: Newline and tab are the keys Enter and Tab.
            how: `keys` never pastes, `paste` always does.
            interval_s: Pause after each key.

        Raises:
            RFBError: when a character cannot be typed, or nothing took what was pasted.
        """
        numbers = [keyboard.keysym_of(character) for character in text]
        lacking = {each for each, number in zip(text, numbers, strict=True) if number > 0x7E}
        lacking -= {each for each in text if each in "\n\r\t\b\x1b"}
        link = await self._live()
        spare = int(self.capability.params.get("spare_keys") or SPARE_KEYS)
        if how == "auto" and len(self._added | lacking) > spare:
            if not link.clipboard.is_extended:
                raise RFBError(
                    f"the text needs {len(self._added | lacking)} characters that no key has, and "
                    f"this screen has {spare} spare keys",
                    hint="type fewer different ones, or use a server whose clipboard takes them",
                )
            how = "paste"
        if how == "paste":
            await self._paste(link, text)
            return
        self._added |= lacking
        at_once = 1 if interval_s else _KEYS_AT_ONCE
        for start in range(0, len(numbers), at_once):
            link.send(b"".join(_chord([each]) for each in numbers[start : start + at_once]))
            await link.drain()
            if interval_s:
                await asyncio.sleep(interval_s)

    # The clipboard.

    async def set_clipboard(self, text: str) -> None:
        """Make `text` the clipboard's content, for as long as this client is connected.

        Raises:
            RFBError: when the server cannot take it: it is no Latin-1, or too long.
        """
        link = await self._live()
        link.clipboard.fetched = link.clipboard.copies
        try:
            link.send(link.clipboard.offer(text))
        except UnicodeEncodeError as error:
            raise RFBError(
                f"this screen's clipboard takes Latin-1 alone, not {text[error.start]!r}",
                hint="type the text instead",
            ) from error
        await link.drain()

    async def get_clipboard(self, *, wait_s: float = 0.0) -> str:
        """Return the clipboard's text, or "" when there is none.

        Args:
            wait_s: When no program has copied anything since the last call (or `set_clipboard`),
                wait this long for one that does: a program copies some time after its keys.

        Raises:
            CapabilityFault: when the server does not hand over what it announced.
        """
        link = await self._live()
        held = link.clipboard
        if wait_s:
            await link.until(lambda: held.copies > held.fetched, wait_s)
        held.fetched = held.copies
        if held.is_announced:
            link.send(held.ask())
            if not await link.until(lambda: not held.is_announced, self._terms.answer_s):
                raise CapabilityFault(f"{link.label}: the clipboard was announced, but never came")
        return held.text if held.own is None else held.own

    async def drain(self) -> None:
        """Wait until everything sent has left this process.

        Raises:
            CapabilityFault: when the server takes nothing any more.
        """
        await self.link.drain()

    # What is behind them.

    async def _act(self, message: Callable[[tuple[int, int]], bytes]) -> None:
        link = await self._live()
        link.send(message((link.frame.width, link.frame.height)))
        await link.drain()

    async def _paste(self, link: Connection, text: str) -> None:
        await self.set_clipboard(text)
        held = link.clipboard
        before = held.served
        link.send(_chord(keyboard.chord("shift+insert")))
        if not held.is_extended:
            await link.drain()
        elif not await link.until(lambda: held.served > before, _PASTED_S):
            raise RFBError(
                f"nothing on the screen asked for the {len(text)} characters pasted",
                hint="click into a text field first",
            )

    async def _live(self) -> Connection:
        """Return the connection, a new one when the server hung up."""
        if self.is_closed:
            raise CapabilityFault(f"{self.link.label}: the client is closed")
        if not self.link.is_lost:
            return self.link
        async with self._reconnecting:
            deadline = time.monotonic() + RECONNECT_S
            while self.link.is_lost:
                try:
                    link = await _open(self.capability, replace(self._terms, connect_s=RECONNECT_S))
                except CapabilityFault:
                    if time.monotonic() >= deadline:
                        raise
                    await asyncio.sleep(_RETRY_PAUSE_S)
                    continue
                if self.is_closed:
                    await link.close()
                    raise CapabilityFault(f"{link.label}: the client is closed")
                self.link = link
                self.pointer.buttons = 0
                self._held.clear()
                self._added.clear()
        return self.link

    def _region(self, region: Region | None) -> Region:
        whole = (0, 0, self.width, self.height)
        if region is None:
            return whole
        left, top, width, height = region
        inside = left >= 0 and top >= 0 and left + width <= whole[2] and top + height <= whole[3]
        if not inside or width < 1 or height < 1:
            raise RFBError(
                f"the region {bounded(region)} is not on the screen of {self.width}x{self.height}",
                hint="(left, top, width, height)",
            )
        return (int(left), int(top), int(width), int(height))

    def _release_all(self) -> None:
        out = b"".join(wire.key_event(number, False) for number in reversed(self._held))
        self._held.clear()
        if self.pointer.buttons:
            out += wire.pointer_event(0, self.pointer.x, self.pointer.y)
        self.link.send(out)


async def _open(cap: Capability, terms: Terms) -> Connection:
    address = cap.address
    assert address is not None
    label = f"capability {cap.name!r} at {address[0]}:{address[1]}"
    password = cap.params.get("password")
    return await Connection.open(label, address, None if password is None else str(password), terms)


def _place(x: float | None, y: float | None) -> Place | None:
    if (x is None) != (y is None):
        raise RFBError("a place takes both x and y")
    return None if x is None or y is None else (x, y)


def _chord(numbers: Sequence[int]) -> bytes:
    pressed = b"".join(wire.key_event(number, True) for number in numbers)
    return pressed + b"".join(wire.key_event(number, False) for number in reversed(numbers))


def _holding(keys: str | Iterable[str] | None, action: bytes) -> bytes:
    if not keys:
        return action
    numbers = keyboard.chord(keys)
    pressed = b"".join(wire.key_event(number, True) for number in numbers)
    released = b"".join(wire.key_event(number, False) for number in reversed(numbers))
    return pressed + action + released
