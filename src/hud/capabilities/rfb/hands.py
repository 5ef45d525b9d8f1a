"""What an agent does on a screen: pointer, keyboard, clipboard.

The bytes are `wire`; which number a key has is `keys`; looking and the connection are `client`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from hud._core.errors import CapabilityFault, bounded
from hud.capabilities.rfb import keys as keyboard
from hud.capabilities.rfb import wire
from hud.capabilities.rfb.connection import Connection, Terms
from hud.capabilities.rfb.errors import RFBError
from hud.capabilities.rfb.pointer import Button, Place, Pointer
from hud.protocol.capability import Capability

SPARE_KEYS = 12
"""How many characters that no key has are typed by giving a spare key that character.

Servers have about 20 spare keys for as long as they run and drop what exceeds them, silently.
A row may promise more (`spare_keys` in its params).
"""
_PASTED_S = 3.0
_KEYS_AT_ONCE = 256


class Hands(ABC):
    """The part of `RFBClient` that acts."""

    capability: Capability
    pointer: Pointer
    link: Connection
    _terms: Terms
    _held: list[int]
    _added: set[str]

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
        lacking = {chr(each & 0xFFFFFF) for each in chord if keyboard.is_lacking(each)}
        await self._act(lambda _: self._primed(lacking) + _chord(chord) * count)

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
        pairs = zip(text, numbers, strict=True)
        lacking = {character for character, number in pairs if keyboard.is_lacking(number)}
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
        link.send(self._primed(lacking))
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

    # What is behind them.

    async def _act(self, message: Callable[[tuple[int, int]], bytes]) -> None:
        link = await self._live()
        link.send(message((link.frame.width, link.frame.height)))
        await link.drain()

    def _primed(self, lacking: set[str]) -> bytes:
        """Note characters that spare keys are about to get, and return what must go before.

        A server that gets its first key ever gives its keyboard's own layout to the screen: a
        spare key that it has just changed would mean nothing again.
        """
        is_first = bool(lacking) and not self._added
        self._added |= lacking
        return _chord([keyboard.SHIFT]) if is_first else b""

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

    @abstractmethod
    async def _live(self) -> Connection:
        """Return the connection, a new one when the server hung up."""

    def _release_all(self) -> None:
        out = b"".join(wire.key_event(number, False) for number in reversed(self._held))
        self._held.clear()
        if self.pointer.buttons:
            out += wire.pointer_event(0, self.pointer.x, self.pointer.y)
        self.link.send(out)


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
