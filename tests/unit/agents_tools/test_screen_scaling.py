"""Where a place on a picture is on the screen, for any screen and any picture."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud.agents.tools.base import ToolError
from hud.agents.tools.screen import Limits, Viewport

SIZES = st.tuples(st.integers(1, 8192), st.integers(1, 8192))
LIMITS = st.builds(Limits, st.integers(1, 4000), st.integers(1, 4_000_000))


@given(SIZES, LIMITS)
def test_a_picture_is_within_its_limits_and_keeps_its_proportions(
    size: tuple[int, int], limits: Limits
) -> None:
    width, height = limits.fit(size)
    assert 1 <= width <= size[0]
    assert 1 <= height <= size[1]
    assert max(width, height) <= limits.max_side
    assert width * height <= limits.max_pixels or 1 in (width, height)
    assert abs(width / size[0] - height / size[1]) <= max(1 / size[0], 1 / size[1])
    if max(size) <= limits.max_side and size[0] * size[1] <= limits.max_pixels:
        assert (width, height) == size


@given(SIZES, LIMITS, st.data())
def test_every_pixel_of_a_picture_is_a_pixel_of_the_screen_that_is_shown_there(
    size: tuple[int, int], limits: Limits, data: st.DataObject
) -> None:
    picture = limits.fit(size)
    view = Viewport(picture, size)
    x = data.draw(st.integers(0, picture[0] - 1))
    y = data.draw(st.integers(0, picture[1] - 1))
    at = view.to_screen(x, y)
    assert x * size[0] // picture[0] <= at[0] < -(-(x + 1) * size[0] // picture[0])
    assert y * size[1] // picture[1] <= at[1] < -(-(y + 1) * size[1] // picture[1])
    assert at[0] < size[0]
    assert at[1] < size[1]
    assert view.to_picture(at) == (x, y)


def test_an_unscaled_picture_has_the_screen_s_own_places() -> None:
    view = Viewport((1024, 768), (1024, 768))
    assert [view.to_screen(x, y) for x, y in ((0, 0), (511, 300), (1023, 767), (10.9, 5.2))] == [
        (0, 0),
        (511, 300),
        (1023, 767),
        (10, 5),
    ]


def test_the_corners_of_an_8k_screen_can_be_named() -> None:
    size = (7680, 4320)
    picture = Limits().fit(size)
    view = Viewport(picture, size)
    left, top = view.to_screen(0, 0)
    right, bottom = view.to_screen(picture[0] - 1, picture[1] - 1)
    assert (left, top) == (2, 2)
    assert (size[0] - right, size[1] - bottom) == (3, 3)


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (100, 0), (0, 50), (1e300, 1)])
def test_a_place_outside_is_refused_with_the_size_of_the_picture(
    place: tuple[float, float],
) -> None:
    with pytest.raises(ToolError, match="outside the picture, which is 100x50 pixels"):
        Viewport((100, 50), (1000, 500)).to_screen(*place)


@given(SIZES, LIMITS, st.data())
def test_a_region_of_a_picture_is_a_part_of_the_screen(
    size: tuple[int, int], limits: Limits, data: st.DataObject
) -> None:
    picture = limits.fit(size)
    view = Viewport(picture, size)
    left = data.draw(st.integers(0, picture[0] - 1))
    top = data.draw(st.integers(0, picture[1] - 1))
    right = data.draw(st.integers(left + 1, picture[0]))
    bottom = data.draw(st.integers(top + 1, picture[1]))
    box = view.box((left, top, right, bottom))
    assert 0 <= box[0] < box[2] <= size[0]
    assert 0 <= box[1] < box[3] <= size[1]
    assert view.box((0, 0, *picture)) == (0, 0, *size)
    with pytest.raises(ToolError, match="no part of the picture"):
        view.box((right, top, left, bottom))
