"""HTTP addresses and the keys that go to them: checked before use, safe to show afterwards."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from hud._core.errors import InputError, bounded
from hud._core.redact import register_secret


@lru_cache(maxsize=256)
def shown_url(address: str) -> str:
    """Return an address without user names, passwords and query, for messages."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def checked_url(text: str, name: str = "base_url") -> str:
    """Return an address that is an HTTP address; `name` is what messages call it.

    Raises:
        InputError: when it is none.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        valid = valid and text.isprintable() and " " not in text
    except ValueError:
        valid = False
    if not valid:
        raise InputError(
            f"{name} {bounded(text)!r} is not an HTTP address",
            hint="write it whole: http://host:port, with a path where it has one",
        )
    return text


def checked_key(key: str) -> str:
    """Return a key that can be sent, kept out of messages and records from now on.

    Raises:
        InputError: when it is none, without showing it.
    """
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(
            "the API key has characters no key has (a space, a line break or a letter beyond ASCII)"
        )
    register_secret(key)
    return key
