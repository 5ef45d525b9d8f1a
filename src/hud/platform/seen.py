"""Which steps of a run a reader has: numbers as ranges, short enough for the id of an event."""

from __future__ import annotations

import re
from bisect import bisect_right

_RANGES_AT_MOST = 100
_TEXT = re.compile(r"\d{1,19}-\d{1,19}(?:,\d{1,19}-\d{1,19}){0,199}")


class SeenSteps:
    """A set of numbers from 1 on."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number <= self._ends[at]

    def add(self, number: int) -> None:
        """Take in a number."""
        starts, ends = self._starts, self._ends
        at = bisect_right(starts, number)
        if at and number <= ends[at - 1]:
            return
        joins_left = at > 0 and ends[at - 1] == number - 1
        joins_right = at < len(starts) and starts[at] == number + 1
        if joins_left and joins_right:
            ends[at - 1] = ends[at]
            del starts[at], ends[at]
        elif joins_left:
            ends[at - 1] = number
        elif joins_right:
            starts[at] = number
        else:
            starts.insert(at, number)
            ends.insert(at, number)

    @property
    def floor(self) -> int:
        """The number up to which nothing is missing; 0 when the first is."""
        return self._ends[0] if self._starts and self._starts[0] == 1 else 0

    def __str__(self) -> str:
        """Return it as `1-57,60-61`; of many ranges the last are left out."""
        pairs = zip(self._starts[:_RANGES_AT_MOST], self._ends, strict=False)
        return ",".join(f"{start}-{end}" for start, end in pairs)

    @classmethod
    def of(cls, text: str) -> SeenSteps:
        """Return what `str` made; nothing of a text that is something else."""
        seen = cls()
        if _TEXT.fullmatch(text) is None:
            return seen
        last = 0
        for part in text.split(","):
            start, end = (int(number) for number in part.split("-"))
            if not last < start <= end:
                return cls()
            seen._starts.append(start)
            seen._ends.append(end)
            last = end
        return seen
