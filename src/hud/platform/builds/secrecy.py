"""What a build's log must not show: the values that were given to it in confidence."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hud._core.redact import REPLACEMENT, redact

_SHORTEST = 6


class Secrecy:
    """Removes given values, and whatever is known to be a secret anyway, from lines of text.

    Args:
        values: What was given. Shorter than 6 characters they say too little to be told apart
            from other words, and stay.
    """

    def __init__(self, values: Iterable[str]) -> None:
        found: set[str] = set()
        for value in values:
            lines = value.splitlines() if "\n" in value else [value]
            found |= {line.strip() for line in lines if len(line.strip()) >= _SHORTEST}
        longest_first = sorted(found, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if found else None

    def clean(self, text: str) -> str:
        """Return `text` without them."""
        if self._pattern is not None:
            text = self._pattern.sub(REPLACEMENT, text)
        return redact(text)
