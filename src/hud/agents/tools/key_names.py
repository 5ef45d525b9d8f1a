"""Names of keys as models write them, read into the names browsers use.

Models were trained on xdotool's names (`Return`, `Page_Down`, `ctrl+s`), on browsers'
(`ArrowLeft`, `Control+S`) and on capitals (`CTRL`, `ESC`); all of them are read everywhere.
Whether a screen has such a key is for its client to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hud._core.errors import bounded
from hud.agents.tools.base import ToolError

Chord = tuple[str, ...]
"""Keys that are held together: modifiers first, at most one other key last."""

MODIFIERS = frozenset({"Control", "Shift", "Alt", "AltGraph", "Meta"})

# Canonical name -> other names, all without separators and in lower case.
_NAMES: dict[str, str] = {
    "Control": "ctrl ctl controll controlr ctrll ctrlr lctrl rctrl leftctrl rightctrl "
    "leftcontrol rightcontrol controlleft controlright controlormeta",
    "Shift": "shiftl shiftr lshift rshift leftshift rightshift shiftleft shiftright",
    "Alt": "altl altr lalt ralt leftalt rightalt altleft altright option opt",
    "AltGraph": "altgr isolevel3shift",
    "Meta": "super superl superr metal metar win windows cmd command os metaleft metaright",
    "Enter": "return kpenter numpadenter numenter",
    "Escape": "esc",
    "Backspace": "bksp",
    "Delete": "del kpdelete",
    "Insert": "ins kpinsert",
    "PageUp": "pgup prior kppageup kpprior",
    "PageDown": "pgdn pgdown next kppagedown kpnext",
    "Home": "kphome",
    "End": "kpend",
    "ArrowLeft": "left leftarrow keyleft kpleft",
    "ArrowRight": "right rightarrow keyright kpright",
    "ArrowUp": "up uparrow keyup kpup",
    "ArrowDown": "down downarrow keydown kpdown",
    "Tab": "",
    "CapsLock": "caps",
    "NumLock": "",
    "ScrollLock": "",
    "Pause": "break",
    "PrintScreen": "print prtsc prtscn printscr",
    "ContextMenu": "menu apps",
    " ": "space spacebar kpspace",
    "+": "plus add kpadd numpadadd",
    "-": "minus hyphen dash kpsubtract numpadsubtract",
    "*": "asterisk multiply kpmultiply numpadmultiply",
    "/": "slash divide kpdivide numpaddivide",
    ".": "period dot kpdecimal numpaddecimal",
    "=": "equal equals kpequal",
    ",": "comma",
    ";": "semicolon",
    ":": "colon",
    "'": "apostrophe quote",
    '"': "quotedbl doublequote",
    "`": "grave backquote backtick",
    "~": "asciitilde tilde",
    "!": "exclam",
    "@": "at",
    "#": "numbersign",
    "$": "dollar",
    "%": "percent",
    "^": "asciicircum caret",
    "&": "ampersand",
    "(": "parenleft",
    ")": "parenright",
    "_": "underscore",
    "[": "bracketleft",
    "]": "bracketright",
    "{": "braceleft",
    "}": "braceright",
    "|": "bar pipe",
    "\\": "backslash",
    "<": "less",
    ">": "greater",
    "?": "question",
}
_BY_NAME = {
    **{name.lower(): name for name in _NAMES if len(name) > 1},
    **{other: name for name, others in _NAMES.items() for other in others.split()},
    **{f"f{number}": f"F{number}" for number in range(1, 25)},
}
_ONE = re.compile(r"(?:key([a-z])|(?:digit|numpad|kp|num)([0-9]))")
_DASHED = re.compile(r"(?:\w+-)+(?:\w+|-)")


def key_name(name: str) -> str:
    """Return the browser's name of a key; a name nobody knows as it is."""
    return _known(name) or name.strip() or name


def chords(keys: str | Sequence[str]) -> list[Chord]:
    """Read keys into chords that are pressed one after another.

    A text is one chord (`ctrl+s`, `Page Down`) or several with blanks between them
    (`ctrl+a Delete`); a list is the keys of one chord. Keys that are no modifiers are pressed in
    turn, each with the modifiers.

    Raises:
        ToolError: when there is none, or it cannot be read.
    """
    if not isinstance(keys, str):
        return _in_turn([part for each in keys for part in _split(each)])
    parts = _split(keys)
    if all(_known(part) for part in parts) or not keys.strip():
        return _in_turn(parts)
    return [chord for word in keys.split() for chord in _in_turn(_split(word))]


def modifiers(keys: str | Sequence[str] | None) -> list[str]:
    """Read keys that are held while something else is done; None is none.

    Raises:
        ToolError: when one of them is no modifier.
    """
    if not keys:
        return []
    parts = [keys] if isinstance(keys, str) else keys
    names = [key_name(part) for each in parts for part in _split(each)]
    for name in names:
        if name not in MODIFIERS:
            raise ToolError(
                f"{bounded(name)!r} cannot be held meanwhile: ctrl, shift, alt and super can"
            )
    return names


def _in_turn(parts: Sequence[str]) -> list[Chord]:
    names = [key_name(part) for part in parts]
    held = tuple(dict.fromkeys(name for name in names if name in MODIFIERS))
    others = [name for name in names if name not in MODIFIERS]
    if not names:
        raise ToolError("no key to press was given")
    return [(*held, other) for other in others] or [held]


def _split(text: str) -> list[str]:
    """Split a chord at its plus signs, or at dashes; the last part may be such a sign itself."""
    stripped = text.strip()
    if len(stripped) <= 1:
        return [stripped or text[:1]] if text else []
    if stripped.endswith("++"):
        parts = [*stripped[:-2].split("+"), "+"]
    elif "+" not in stripped and _is_dashed(stripped):
        parts = (
            stripped.split("-") if not stripped.endswith("-") else [*stripped[:-2].split("-"), "-"]
        )
    else:
        parts = stripped.split("+")
    if any(not part.strip() for part in parts):
        raise ToolError(f"cannot read the keys {bounded(text)!r}: write them as ctrl+shift+t")
    return [part.strip() for part in parts]


def _is_dashed(text: str) -> bool:
    first = _known(text.partition("-")[0])
    return first in MODIFIERS and _DASHED.fullmatch(text) is not None


def _known(name: str) -> str | None:
    stripped = name.strip()
    if len(stripped) <= 1:
        return stripped or (" " if name else None)
    plain = re.sub(r"[\s_-]", "", stripped.lower().removeprefix("xk_"))
    found = _BY_NAME.get(plain)
    if found is None and (match := _ONE.fullmatch(plain)) is not None:
        found = match[1] or match[2]
    return found
