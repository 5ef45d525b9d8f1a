"""Names of keys, and how characters and chords become X keysyms.

Source of the numbers: the X protocol's appendix on keysyms. Sending them is `client`'s part.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from typing import Any

from hud._core.errors import bounded
from hud.capabilities.rfb.errors import RFBError

_NAMED: dict[str, int] = {
    "backspace": 0xFF08,
    "tab": 0xFF09,
    "enter": 0xFF0D,
    "return": 0xFF0D,
    "pause": 0xFF13,
    "scrolllock": 0xFF14,
    "esc": 0xFF1B,
    "escape": 0xFF1B,
    "home": 0xFF50,
    "left": 0xFF51,
    "arrowleft": 0xFF51,
    "up": 0xFF52,
    "arrowup": 0xFF52,
    "right": 0xFF53,
    "arrowright": 0xFF53,
    "down": 0xFF54,
    "arrowdown": 0xFF54,
    "pageup": 0xFF55,
    "pgup": 0xFF55,
    "prior": 0xFF55,
    "pagedown": 0xFF56,
    "pgdn": 0xFF56,
    "next": 0xFF56,
    "end": 0xFF57,
    "print": 0xFF61,
    "printscreen": 0xFF61,
    "insert": 0xFF63,
    "ins": 0xFF63,
    "menu": 0xFF67,
    "numlock": 0xFF7F,
    "shift": 0xFFE1,
    "shiftr": 0xFFE2,
    "ctrl": 0xFFE3,
    "control": 0xFFE3,
    "ctrlr": 0xFFE4,
    "capslock": 0xFFE5,
    "meta": 0xFFE7,
    "alt": 0xFFE9,
    "option": 0xFFE9,
    "altr": 0xFFEA,
    "altgr": 0xFE03,
    "super": 0xFFEB,
    "win": 0xFFEB,
    "windows": 0xFFEB,
    "cmd": 0xFFEB,
    "command": 0xFFEB,
    "superr": 0xFFEC,
    "delete": 0xFFFF,
    "del": 0xFFFF,
    "space": 0x20,
    "plus": ord("+"),
    "minus": ord("-"),
    "numenter": 0xFF8D,
    "kpenter": 0xFF8D,
    **{f"f{number}": 0xFFBD + number for number in range(1, 36)},
    **{f"kp{number}": 0xFFB0 + number for number in range(10)},
    **{f"num{number}": 0xFFB0 + number for number in range(10)},
}
SHIFT, CONTROL = 0xFFE1, 0xFFE3
_MODIFIERS = frozenset((*range(0xFFE1, 0xFFEF), 0xFE03))
_TYPED = {"\n": 0xFF0D, "\r": 0xFF0D, "\t": 0xFF09, "\b": 0xFF08, "\x1b": 0xFF1B}
_SHIFTED = dict(zip("`1234567890-=[]\\;',./", '~!@#$%^&*()_+{}|:"<>?', strict=True))


def keysym_of(character: str) -> int:
    """Return the keysym that types one character.

    Raises:
        RFBError: when no key could type it (a control character, half of a surrogate pair).
    """
    if character in _TYPED:
        return _TYPED[character]
    number = ord(character)
    if number < 0x20 or 0x7F <= number < 0xA0 or 0xD800 <= number < 0xE000:
        raise RFBError(f"no key types the character {character!r} (U+{number:04X})")
    return number if number < 0x100 else 0x01000000 + number


def is_lacking(number: int) -> bool:
    """Tell whether a plain keyboard has no key for this keysym, as far as anyone can know."""
    return 0x7E < number < 0xFE00 or number >= 0x01000000


def keysym(name: str) -> int:
    """Return the keysym of a key: a character, a name such as `Enter`, or X's own name for it.

    Raises:
        RFBError: when there is no such key.
    """
    if len(name) == 1:
        return keysym_of(name)
    found = _NAMED.get(name.lower().replace("_", "").replace("-", "").replace(" ", ""))
    if found is None:
        found = _x_names().get(name) or _x_names().get(name.removeprefix("XK_"))
    if found is None and name.lower().endswith(("_l", "left")) and len(name) > 5:
        found = _NAMED.get(name.lower().removesuffix("_l").removesuffix("left"))
    if found is None:
        raise RFBError(
            f"unknown key {bounded(name)!r}",
            hint="a character, or a name such as Enter, Escape, Tab, Page_Down, F5, ctrl, super",
        )
    return found


def chord(keys: str | Iterable[str]) -> list[int]:
    """Return the keysyms of keys that are held together, in the order they are pressed.

    Args:
        keys: `"ctrl+shift+t"`, or the names one by one. A letter means its key: `ctrl+C` is
            `ctrl+c`, and with shift among the keys it is the shifted character.

    Raises:
        RFBError: when a key is unknown, or there is none.
    """
    names = _split(keys) if isinstance(keys, str) else list(keys)
    if not names:
        raise RFBError("no key to press")
    found = [keysym(name) for name in names]
    held = {number for number in found if number in _MODIFIERS}
    if not held:
        return found
    return [_under(number, bool(held & {SHIFT, 0xFFE2})) for number in found]


def _split(text: str) -> list[str]:
    """Split at the plus signs; a plus sign that is a key itself stands at the end."""
    if text in ("+", " "):
        return [text]
    if text.endswith("++"):
        return [*_split(text[:-2]), "+"]
    names = [name.strip() for name in text.split("+")]
    if "" in names:
        raise RFBError(f"cannot read the keys {bounded(text)!r}", hint="such as 'ctrl+shift+t'")
    return names


def _under(number: int, is_shifted: bool) -> int:
    """Return what a key gives while modifiers are held, as servers expect it to be named."""
    if not 0x20 < number < 0x7F:
        return number
    character = chr(number)
    if not is_shifted:
        return ord(character.lower())
    return ord(_SHIFTED.get(character, character.upper()))


@functools.cache
def _x_names() -> dict[str, int]:
    """Return the two thousand names that X itself has, when their list is installed."""
    try:
        listed: Any = importlib.import_module("keysymdef")
    except ModuleNotFoundError:
        return {}
    return {str(name): int(code) for name, code, _ in listed.keysymdef}
