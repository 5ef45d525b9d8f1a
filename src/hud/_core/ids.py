"""Identifiers: 32 hex digits, ordered by creation time, equal in dashed and plain spelling."""

from __future__ import annotations

import os
import re
import time

_HEX32 = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    """Return a fresh id: 32 lower-case hex digits that form a version 7 UUID (RFC 9562)."""
    millis = time.time_ns() // 1_000_000
    tail = int.from_bytes(os.urandom(10))
    high = (tail >> 68) & 0xFFF
    low = tail & 0x3FFFFFFFFFFFFFFF
    return f"{millis:012x}7{high:03x}{0x8000000000000000 | low:016x}"


def normal_id(text: str) -> str:
    """Return `text` in the spelling that is stored: lower case, without dashes."""
    return text.strip().lower().replace("-", "")


def is_id(text: str) -> bool:
    """Tell whether `text` is a whole id in the stored spelling."""
    return _HEX32.fullmatch(text) is not None
