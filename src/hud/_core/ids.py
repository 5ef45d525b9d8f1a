"""Identifiers: 32 random hex digits, equal in dashed and plain spelling."""

from __future__ import annotations

import os
import re

_HEX32 = re.compile(r"[0-9a-f]{32}")
_VARIANTS = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def new_id() -> str:
    """Return a fresh random id: 32 lower-case hex digits that form a version 4 UUID (RFC 9562).

    Random from the first digit on, so that a short prefix tells two runs of one job apart.
    """
    digits = os.urandom(16).hex()
    return f"{digits[:12]}4{digits[13:16]}{_VARIANTS[digits[16]]}{digits[17:]}"


def normal_id(text: str) -> str:
    """Return `text` in the spelling that is stored: lower case, without dashes."""
    return text.strip().lower().replace("-", "")


def is_id(text: str) -> bool:
    """Tell whether `text` is a whole id in the stored spelling."""
    return _HEX32.fullmatch(text) is not None
