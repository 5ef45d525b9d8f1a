"""Keep the pictures of a conversation within what a request may hold: the newest stay.

Which block is a picture, and what stands in place of one, is a dialect's part.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

MOST_PICTURES = 90
"""The strictest API takes 100 in a request."""
MOST_CHARS = 20_000_000
"""Characters of base64, of the 32 MB a request may have."""


@dataclass(slots=True)
class _Picture:
    blocks: list[Any]
    at: int
    chars: int


class KeptPictures:
    """The pictures of one conversation that may be left out, oldest first.

    Args:
        at_most: How many stay; None leaves out the older half when there are too many for a
            request, seldom enough that the rest of it stays in the provider's cache.
    """

    def __init__(self, at_most: int | None = None) -> None:
        self.seen = 0
        self._at_most = at_most
        self._pictures: deque[_Picture] = deque()
        self._chars = 0

    def add(self, blocks: list[Any], at: int, chars: int) -> None:
        """Count the picture `blocks[at]` in."""
        self._pictures.append(_Picture(blocks, at, chars))
        self._chars += chars

    def leave_out_all(self, in_place: Any) -> bool:
        """Put `in_place` where any picture was; False when there was none."""
        pictures = list(self._pictures)
        self._pictures.clear()
        self._chars = 0
        for picture in pictures:
            picture.blocks[picture.at] = in_place
        return bool(pictures)

    def leave_out(self, in_place: Any) -> None:
        """Put `in_place` where the pictures were that are too many."""
        if self._at_most is not None:
            most, chars = self._at_most, None
        elif len(self._pictures) > MOST_PICTURES or self._chars > MOST_CHARS:
            most, chars = MOST_PICTURES // 2, MOST_CHARS // 2
        else:
            return
        while len(self._pictures) > most or (
            chars is not None and self._chars > chars and len(self._pictures) > 1
        ):
            oldest = self._pictures.popleft()
            oldest.blocks[oldest.at] = in_place
            self._chars -= oldest.chars
