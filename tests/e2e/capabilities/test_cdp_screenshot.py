"""Pictures the cdp client takes, against the pixels they must have."""

from __future__ import annotations

import io
from typing import Any

import pytest

from hud.capabilities.cdp import CDPClient, CDPError
from tests.e2e.capabilities.cdp_page import browser, cdp, show, web
from tests.e2e.capabilities.cdp_site import Site
from tests.needs import need_module

__all__ = ["browser", "cdp", "web"]

SQUARE = """<div style='position:absolute;left:100px;top:60px;width:40px;height:20px;
background:rgb(255,0,0)' onclick='hit=1'></div>"""
RED, WHITE = (255, 0, 0), (255, 255, 255)


@pytest.fixture
async def page(cdp: CDPClient, web: Site) -> CDPClient:
    await show(cdp, web, SQUARE)
    return cdp


def decoded(data: bytes) -> Any:
    return need_module("PIL.Image").open(io.BytesIO(data))


def red_box(data: bytes) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of what is mostly red."""
    image = decoded(data).convert("RGB")
    red, green, _ = image.split()
    mask = need_module("PIL.ImageChops").subtract(red, green).point([0] * 129 + [255] * 127)
    box = mask.getbbox()
    assert box is not None, "nothing in the picture is red"
    return box


async def test_a_picture_shows_the_viewport_pixel_by_pixel(page: CDPClient) -> None:
    data = await page.screenshot()
    image = decoded(data)
    assert image.format == "PNG"
    assert image.size == await page.viewport()
    assert red_box(data) == (100, 60, 140, 80)
    left, top, right, bottom = red_box(data)
    await page.evaluate("hit = 0")
    await page.click((left + right) / 2, (top + bottom) / 2)
    assert await page.evaluate("hit") == 1


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
async def test_formats(page: CDPClient, format: Any) -> None:
    data = await page.screenshot(format=format, quality=90)
    image = decoded(data)
    assert image.format == format.upper()
    assert image.size == await page.viewport()
    rough = await page.screenshot(format=format, quality=5)
    assert len(rough) <= len(data)


async def test_scaled_and_clipped_pictures(page: CDPClient) -> None:
    width, height = await page.viewport()
    assert red_box(await page.screenshot(scale=0.5)) == (50, 30, 70, 40)
    assert red_box(await page.screenshot(scale=2)) == (200, 120, 280, 160)
    clipped = await page.screenshot(clip=(90, 50, 100, 100))
    assert decoded(clipped).size == (100, 100)
    assert red_box(clipped) == (10, 10, 50, 30)
    small = await page.screenshot(max_size=(400, 100))
    assert decoded(small).size == (round(width * 100 / height), 100)
    assert decoded(await page.screenshot(max_size=(9999, 9999))).size == (width, height)
    with pytest.raises(CDPError, match="is empty"):
        await page.screenshot(clip=(5000, 5000, 10, 10))
    with pytest.raises(CDPError, match="no picture format 'gif'"):
        await page.screenshot(format="gif")  # pyright: ignore[reportArgumentType]
    with pytest.raises(CDPError, match="cannot be scaled"):
        await page.screenshot(scale=0)


async def test_a_scrolled_page_is_shown_as_it_is_seen(cdp: CDPClient, web: Site) -> None:
    await show(cdp, web, SQUARE + "<div style='height:4000px'></div>")
    await cdp.evaluate("scrollTo(0, 40)")
    assert red_box(await cdp.screenshot()) == (100, 20, 140, 40)
    assert red_box(await cdp.screenshot(clip=(90, 10, 100, 100))) == (10, 10, 50, 30)
    assert red_box(await cdp.screenshot(scale=0.5)) == (50, 10, 70, 20)
    whole = await cdp.screenshot(full_page=True)
    assert decoded(whole).size[1] == 4000
    assert red_box(whole) == (100, 60, 140, 80)
    assert await cdp.evaluate("scrollY") == 40


async def test_a_page_without_end_is_cut(cdp: CDPClient, web: Site) -> None:
    await show(cdp, web, SQUARE + "<div style='height:900000px'></div>")
    image = decoded(await cdp.screenshot(full_page=True, format="jpeg", scale=0.25, timeout_s=120))
    assert max(image.size) <= 16_384


async def test_a_dense_screen_gives_css_pixels_too(page: CDPClient) -> None:
    await page.set_viewport(640, 480, pixel_ratio=2)
    assert await page.viewport() == (640, 480)
    assert await page.evaluate("devicePixelRatio") == 2
    data = await page.screenshot()
    assert decoded(data).size == (640, 480)
    assert red_box(data) == (100, 60, 140, 80)
    assert decoded(await page.screenshot(scale=2)).size == (1280, 960)
