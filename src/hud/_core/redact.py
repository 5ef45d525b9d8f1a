"""What counts as a secret, and its removal from text and from encoded JSON.

Defined once for every sink, log and error: the values of environment variables whose names say
so, values registered at run time, and the shapes of well-known keys. Clean text, which is nearly
all of it, is recognised without running one regular expression over every character.
"""

from __future__ import annotations

import json
import os
import re

REPLACEMENT = "[redacted]"
_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_MIN_LENGTH = 8
# JSON inside of JSON strings (the arguments of a tool call) escapes once more on each level.
_NESTING = 3
_BOTH = (True, False)

# Each alternative starts where a gate below can see it; a group named `keep` stays in the text.
_SHAPES = re.compile(
    r"""
      (?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,}
    | (?<![A-Za-z0-9])[sr]k_(?:live|test)_[A-Za-z0-9]{16,}
    | (?<![A-Z0-9])A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Z0-9])
    | AIza[A-Za-z0-9_-]{30,}
    | (?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{20,}
    | (?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{20,}
    | (?<![A-Za-z0-9])xox[a-z]-[A-Za-z0-9-]{10,}
    | (?<![A-Za-z0-9])hf_[A-Za-z0-9]{20,}
    | (?<![A-Za-z0-9])hud_(?:[a-z]{1,12}_)?[A-Za-z0-9]{20,}
    | (?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{5,}\.eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----(?s:.)*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    | (?P<bearer>(?<![A-Za-z0-9])[Bb](?:earer|EARER)\ +)
      (?=[^\s"'\\]{0,64}[0-9])[A-Za-z0-9._~+/=-]{12,}
    | (?P<user>://[^\s/?\#@:"'\\]{0,128}:)[^\s/@"'\\]{1,512}(?=@)
    """,
    re.VERBOSE,
)

# Every shape contains one of these. A pattern that starts with one literal character is searched
# by memchr, and the rest is looked at only there.
_DASH = re.compile(r"-(?:(?<=sk-)|(?<=xox.-)|----BEGIN)")
_UNDERSCORE = re.compile(
    r"_(?:(?<=hf_)|(?<=hud_)|(?<=gh[pousr]_)|(?<=github_pat_)|(?<=[sr]k_)(?=live|test))"
)
_CAPITAL_A = re.compile(r"A(?=KIA|SIA|Iza)")
_JWT = re.compile(r"J(?<=eyJ)")
_BEARER = re.compile(r"r (?<=(?i:bearer) )")
_ESCAPED_ASCII = re.compile(r"\\(?=u00[2-7])")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


_needles: tuple[str, ...] = ()
_registered: set[str] = set()


def register_secret(value: str) -> None:
    """Redact `value` from now on, wherever it appears; shorter than 8 characters is ignored."""
    if len(value) >= _MIN_LENGTH and value not in _registered:
        _registered.add(value)
        refresh()


def refresh() -> None:
    """Read the environment again; needed only after a secret was put into `os.environ`.

    Costs some microseconds; the store's writer calls it for every batch it writes.
    """
    global _needles  # noqa: PLW0603 -- replaced as a whole, so that readers need no lock
    values = set(_registered)
    for name, value in os.environ.items():
        upper = name.upper()
        if len(value) >= _MIN_LENGTH and any(word in upper for word in _NAMES):
            values.add(value)
    needles: set[str] = set()
    for value in values:
        if _SHAPES.fullmatch(value):
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
        ("-" in text and _DASH.search(text) is not None)
        or ("_" in text and _UNDERSCORE.search(text) is not None)
        or ("A" in text and _CAPITAL_A.search(text) is not None)
        or ("J" in text and _JWT.search(text) is not None)
        or ("@" in text and "://" in text)
        or _BEARER.search(text) is not None
        or any(needle in text for needle in _needles)
    )


def _replaced(text: str) -> str:
    for needle in _needles:
        if needle in text:
            text = text.replace(needle, REPLACEMENT)
    return _SHAPES.sub(_substitute, text)


def _substitute(match: re.Match[str]) -> str:
    kept = match["bearer"] or match["user"] or ""
    return kept + REPLACEMENT


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
