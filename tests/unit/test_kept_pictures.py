"""Which pictures of a conversation stay, when there are too many for a request."""

from __future__ import annotations

from typing import Any

import pytest

from hud.agents.kept_pictures import MOST_CHARS, MOST_PICTURES, KeptPictures

OUT = "(left out)"


def kept(count: int, at_most: int | None, chars: int = 1) -> list[Any]:
    """Return what is left of so many pictures that came one after the other."""
    pictures, blocks = KeptPictures(at_most), list[Any](range(count))
    for at in range(count):
        pictures.add(blocks, at, chars)
        pictures.leave_out(OUT)
    return [block for block in blocks if block != OUT]


@pytest.mark.parametrize(
    ("at_most", "left"), [(0, []), (1, [4]), (3, [2, 3, 4]), (9, list(range(5)))]
)
def test_as_many_stay_as_are_wanted_and_they_are_the_newest(at_most: int, left: list[int]) -> None:
    assert kept(5, at_most) == left


def test_all_stay_that_a_request_may_hold() -> None:
    assert len(kept(MOST_PICTURES, None)) == MOST_PICTURES


def test_beyond_that_the_older_half_goes_at_once() -> None:
    assert kept(MOST_PICTURES + 1, None) == list(range(MOST_PICTURES // 2 + 1, MOST_PICTURES + 1))


def test_large_pictures_count_by_their_size() -> None:
    assert kept(6, None, MOST_CHARS // 4) == [3, 4, 5]
    assert kept(3, None, 2 * MOST_CHARS) == [2]
