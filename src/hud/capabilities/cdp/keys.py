"""Names of keys and chords, and what a US keyboard sends for them. No I/O.

Key values and codes are those of the W3C UI Events specifications; `windowsVirtualKeyCode` is
the legacy `keyCode` beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

from hud._core.errors import bounded
from hud.capabilities.cdp.errors import CDPError

MODIFIERS = {"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}
_MODIFIER_CODES = {"Shift": 16, "Control": 17, "Alt": 18, "Meta": 91}

# key value -> legacy key code; the code has the key's own name.
_NAMED = {
    "Backspace": 8, "Tab": 9, "Enter": 13, "Pause": 19, "CapsLock": 20, "Escape": 27,
    "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38,
    "ArrowRight": 39, "ArrowDown": 40, "PrintScreen": 44, "Insert": 45, "Delete": 46,
    "ContextMenu": 93, "NumLock": 144, "ScrollLock": 145,
    **{f"F{number}": 111 + number for number in range(1, 25)},
}  # fmt: skip

# Keys beside letters and digits: unshifted and shifted character, code, legacy key code.
_SIGNS = (
    ("`~", "Backquote", 192), ("-_", "Minus", 189), ("=+", "Equal", 187),
    ("[{", "BracketLeft", 219), ("]}", "BracketRight", 221), ("\\|", "Backslash", 220),
    (";:", "Semicolon", 186), ("'\"", "Quote", 222), (",<", "Comma", 188),
    (".>", "Period", 190), ("/?", "Slash", 191),
)  # fmt: skip
_SHIFTED_DIGITS = ")!@#$%^&*("
_TEXT_OF_NAMED = {"Enter": "\r"}

# Names other tools use for the same keys, in lower case and without separators.
_ALIASES = {
    "ctrl": "Control", "ctl": "Control", "option": "Alt", "cmd": "Meta", "command": "Meta",
    "super": "Meta", "win": "Meta", "windows": "Meta", "return": "Enter", "kpenter": "Enter",
    "esc": "Escape", "del": "Delete", "ins": "Insert", "bksp": "Backspace", "pgup": "PageUp",
    "pgdn": "PageDown", "prior": "PageUp", "next": "PageDown", "left": "ArrowLeft",
    "up": "ArrowUp", "right": "ArrowRight", "down": "ArrowDown", "space": " ", "spacebar": " ",
    "plus": "+", "minus": "-", "menu": "ContextMenu", "print": "PrintScreen",
}  # fmt: skip
_BY_NAME = {name.lower(): name for name in (*_NAMED, *MODIFIERS)} | _ALIASES


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the keyboard, as one of its characters or functions.

    Attributes:
        value: What it means (`a`, `A`, `Enter`).
        code: Which key it is (`KeyA`).
        number: Its legacy key code.
        text: What it types, or nothing.
        shifted: Whether the Shift key is held for this value.
    """

    value: str
    code: str
    number: int
    text: str = ""
    shifted: bool = False


@dataclass(frozen=True, slots=True)
class Chord:
    """Modifiers that are held, in the order given, while one key is pressed."""

    modifiers: tuple[str, ...]
    key: Key

    @property
    def mask(self) -> int:
        return mask(self.modifiers)


def mask(modifiers: tuple[str, ...]) -> int:
    """Return the bits of some modifiers."""
    return sum(MODIFIERS[name] for name in set(modifiers))


def key_for(character: str) -> Key | None:
    """Return the key that types a character on a US keyboard, or None when none does."""
    if character in "\r\n":
        return _named("Enter")
    if character == "\t":
        return _named("Tab")
    if character == " ":
        return Key(" ", "Space", 32, " ")
    if character.isascii() and character.isalpha():
        upper = character.upper()
        return Key(character, f"Key{upper}", ord(upper), character, character == upper)
    if character.isascii() and character.isdigit():
        return Key(character, f"Digit{character}", ord(character), character)
    if character in _SHIFTED_DIGITS:
        digit = str(_SHIFTED_DIGITS.index(character))
        return Key(character, f"Digit{digit}", ord(digit), character, shifted=True)
    for characters, code, number in _SIGNS:
        if character in characters:
            return Key(character, code, number, character, character == characters[1])
    return None


def modifier_key(name: str) -> Key:
    """Return the left one of the two keys of a modifier."""
    return Key(name, f"{name}Left", _MODIFIER_CODES[name])


def modifiers_of(names: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Read names of modifiers.

    Raises:
        CDPError: when one of them is none.
    """
    found = tuple(_full_name(name) for name in names)
    for name, full in zip(names, found, strict=True):
        if full not in MODIFIERS:
            raise CDPError(
                f"{bounded(name)!r} is no modifier", hint=f"modifiers: {', '.join(MODIFIERS)}"
            )
    return found


def parse_chord(text: str) -> Chord:
    """Read `Enter`, `a`, `Control+Shift+A`, `ctrl++`.

    Raises:
        CDPError: when a part of it is the name of no key.
    """
    plus = text == "+" or text.endswith("++")
    *held, last = [*text[:-2].split("+"), "+"] if plus else text.split("+")
    modifiers = modifiers_of([name for name in held if name])
    name = _full_name(last)
    if name in MODIFIERS:
        return Chord(modifiers, modifier_key(name))
    if len(name) == 1 and name.isalpha() and modifiers and "Shift" not in modifiers:
        name = name.lower()
    if "Shift" in modifiers and len(name) == 1:
        name = _shifted(name)
    key = _named(name) if name in _NAMED else key_for(name) if len(name) == 1 else None
    if key is None:
        raise CDPError(
            f"{bounded(text)!r} names no key",
            hint="use a character or a name such as Enter, ArrowLeft, F5, Control+a",
        )
    if key.shifted and "Shift" not in modifiers:
        modifiers = (*modifiers, "Shift")
    return Chord(modifiers, key)


def _full_name(name: str) -> str:
    stripped = name.strip() or name
    if len(stripped) == 1:
        return stripped
    return _BY_NAME.get(stripped.lower().replace("_", "").replace("-", ""), stripped)


def _shifted(character: str) -> str:
    """Return what a key types while Shift is held."""
    if character.isdigit() and character.isascii():
        return _SHIFTED_DIGITS[int(character)]
    for characters, _, _ in _SIGNS:
        if character == characters[0]:
            return characters[1]
    return character.upper()


def _named(name: str) -> Key:
    return Key(name, name, _NAMED[name], _TEXT_OF_NAMED.get(name, ""))
