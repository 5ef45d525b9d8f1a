"""What counts as a secret, and its removal from text and from encoded JSON.

Defined once for every sink, log and error: the values of environment variables whose names say
so, values registered at run time, and the shapes of well-known keys. Clean text, which is nearly
all of it, is recognised without running one regular expression over every character.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator

REPLACEMENT = "[redacted]"
_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_MIN_LENGTH = 8
# JSON inside of JSON strings (the arguments of a tool call) escapes once more on each level.
_NESTING = 3
_BOTH = (True, False)

# A pattern that starts with one literal character is searched by memchr, and the rest of it is
# looked at only there. So every shape is anchored at the rarest character it must contain, looks
# behind for what precedes it, and has bounds on whatever may be scanned more than once.
# What stands before "sk-" may be an escape of JSON; a "task-" is none.
_DASH_GATE = re.compile(
    r"-(?:(?<=(?<![A-Za-z0-9])sk-)|(?<=\\[bfnrt]sk-)|(?<=\\u[0-9A-Fa-f]{4}sk-)"
    r"|(?<=xox.-)|----BEGIN)"
)
_UNDERSCORE_GATE = re.compile(
    r"_(?:(?<=hf_)|(?<=hud_)|(?<=gh[pousr]_)|(?<=github_pat_)|(?<=[sr]k_)(?=live|test))"
)
_A_GATE = re.compile(r"A(?=KIA|SIA|Iza)")
_J_GATE = re.compile(r"J(?<=eyJ)")
_BEARER_GATE = re.compile(r"r (?<=(?i:bearer) )")
_URL = re.compile(r""":(?=//)//[^\s/?\#@:"'\\]{0,128}:([^\s/@"'\\]{1,512})(?=@)""")
_ESCAPED_ASCII = re.compile(r"\\(?=u00[2-7])")

# Per gate: the shapes behind it, and by how many characters each begins before its anchor. What
# goes is group 1 where there is one.
_SHAPES: tuple[tuple[re.Pattern[str], tuple[tuple[re.Pattern[str], int], ...]], ...] = (
    (
        _DASH_GATE,
        (
            (re.compile(r"-(?<=(?<![A-Za-z0-9])sk-)[A-Za-z0-9_-]{16,}"), 2),
            (re.compile(r"-(?<=(?<![A-Za-z0-9])xox[a-z]-)[A-Za-z0-9-]{10,}"), 4),
        ),
    ),
    (
        _UNDERSCORE_GATE,
        (
            (re.compile(r"_(?<=(?<![A-Za-z0-9])[sr]k_)(?:live|test)_[A-Za-z0-9]{16,}"), 2),
            (re.compile(r"_(?<=(?<![A-Za-z0-9])gh[pousr]_)[A-Za-z0-9]{20,}"), 3),
            (re.compile(r"_(?<=(?<![A-Za-z0-9])github_pat_)[A-Za-z0-9_]{20,}"), 10),
            (re.compile(r"_(?<=(?<![A-Za-z0-9])hf_)[A-Za-z0-9]{20,}"), 2),
            (re.compile(r"_(?<=(?<![A-Za-z0-9])hud_)(?:[a-z]{1,12}_)?[A-Za-z0-9]{20,}"), 3),
        ),
    ),
    (
        _A_GATE,
        (
            (re.compile(r"A(?<![A-Z0-9]A)(?:KIA|SIA)[A-Z0-9]{16}(?![A-Z0-9])"), 0),
            # Exactly as long as a key is: four letters alone are in every large base64 text.
            (re.compile(r"A(?<![A-Za-z0-9]A)Iza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"), 0),
        ),
    ),
    (
        _J_GATE,
        (
            (
                re.compile(
                    r"J(?<=(?<![A-Za-z0-9])eyJ)[A-Za-z0-9_-]{5,512}"
                    r"\.eyJ[A-Za-z0-9_-]{5,8192}\.[A-Za-z0-9_-]*"
                ),
                2,
            ),
        ),
    ),
    (
        _BEARER_GATE,
        (
            (
                re.compile(
                    r"r (?<=(?<![A-Za-z0-9])(?i:bearer) ) {0,8}"
                    r"""(?=[^\s"'\\]{0,64}[0-9])([A-Za-z0-9._~+/=-]{12,})"""
                ),
                0,
            ),
        ),
    ),
    (_URL, ((_URL, 0),)),
)
_PEM = re.compile(r"-(?=----BEGIN )----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_PEM_END = re.compile(r"-(?=----END )----END [A-Z ]{0,40}PRIVATE KEY-----")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)

_needles: tuple[str, ...] = ()
_registered: set[str] = set()


def register_secret(value: str) -> None:
    """Redact `value` from now on, wherever it appears; shorter than 8 characters is ignored."""
    if len(value) >= _MIN_LENGTH and value not in _registered:
        _registered.add(value)
        refresh()


def names_secret(name: str) -> bool:
    """Tell whether a variable's name says that its value is a secret."""
    upper = name.upper()
    return any(word in upper for word in _NAMES)


def refresh() -> None:
    """Read the environment again; needed only after a secret was put into `os.environ`.

    Costs some microseconds; the store's writer calls it for every batch it writes.
    """
    global _needles  # noqa: PLW0603 -- replaced as a whole, so that readers need no lock
    values = set(_registered)
    for name, value in os.environ.items():
        if len(value) >= _MIN_LENGTH and names_secret(name):
            values.add(value)
    needles: set[str] = set()
    for value in values:
        if _without_shapes(value) == REPLACEMENT:
            continue  # found by its shape already
        spellings = {value}
        for _ in range(_NESTING):
            spellings |= {_escaped(one, ascii_only=only) for one in spellings for only in _BOTH}
        needles |= spellings
    # Longest first, so that a secret that contains another one goes as a whole.
    _needles = tuple(sorted(needles, key=lambda needle: (-len(needle), needle)))


def redact(text: str) -> str:
    """Return `text` with every secret replaced by `[redacted]`."""
    return _replaced(text) if is_suspect(text) else text


def redact_json(data: bytes) -> bytes:
    """Return the JSON document `data` with every secret inside its strings replaced.

    Secrets are found in their escaped spelling too, and valid JSON stays valid: only whole string
    tokens are rewritten. Numbers are left alone.
    """
    text = data.decode("utf-8", "replace")
    cleaned = redact_json_text(text)
    return data if cleaned is text else cleaned.encode()


def redact_json_text(text: str) -> str:
    """Do as `redact_json` for a document that is decoded already; clean text comes back itself."""
    if not is_suspect_json(text):
        return text
    cleaned = _STRING.sub(_clean_token, text)
    return text if cleaned == text else cleaned


def is_suspect_json(text: str) -> bool:
    """Tell whether the JSON document `text` may hold a secret, or hides letters in escapes."""
    return is_suspect(text) or ("\\" in text and _ESCAPED_ASCII.search(text) is not None)


def is_suspect(text: str) -> bool:
    """Tell, fast, whether `text` may hold a secret; False means it certainly holds none."""
    return (
        ("-" in text and _DASH_GATE.search(text) is not None)
        or ("_" in text and _UNDERSCORE_GATE.search(text) is not None)
        or ("A" in text and _A_GATE.search(text) is not None)
        or ("J" in text and _J_GATE.search(text) is not None)
        or ("@" in text and _URL.search(text) is not None)
        or _BEARER_GATE.search(text) is not None
        or any(needle in text for needle in _needles)
    )


def _replaced(text: str) -> str:
    for needle in _needles:
        if needle in text:
            text = text.replace(needle, REPLACEMENT)
    return _without_shapes(text)


def _without_shapes(text: str) -> str:
    text = _without(text, _private_keys(text))
    for gate, shapes in _SHAPES:
        if gate.search(text) is None:
            continue
        for pattern, before in shapes:
            text = _without(
                text,
                (
                    match.span(1) if pattern.groups else (match.start() - before, match.end())
                    for match in pattern.finditer(text)
                ),
            )
    return text


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    """Yield where private key blocks lie; one that does not end goes to the end of the text."""
    position = 0
    while (begin := _PEM.search(text, position)) is not None:
        end = _PEM_END.search(text, begin.end())
        position = len(text) if end is None else end.end()
        yield begin.start(), position


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    pieces: list[str] = []
    position = 0
    for start, end in spans:
        pieces += (text[position:start], REPLACEMENT)
        position = end
    return "".join((*pieces, text[position:])) if pieces else text


def _clean_token(match: re.Match[str]) -> str:
    token = match[0]
    if not is_suspect_json(token):
        return token
    try:
        text = json.loads(token, strict=False)
    except ValueError:
        return token
    cleaned = _replaced(text)
    if cleaned == text:
        return token
    spelled = json.dumps(cleaned, ensure_ascii=False)
    try:
        spelled.encode()
    except UnicodeEncodeError:
        return json.dumps(cleaned)
    return spelled


def _escaped(value: str, *, ascii_only: bool) -> str:
    return json.dumps(value, ensure_ascii=ascii_only)[1:-1]


refresh()
