"""Pictures of a page whose pixels are the CSS pixels that clicks are given in.

Decoding them is left to whoever needs to: no imaging library is used here.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Literal, Self

from hud._core.errors import CapabilityFault, bounded
from hud.capabilities.cdp.connection import Params
from hud.capabilities.cdp.elements import Box
from hud.capabilities.cdp.errors import CDPError
from hud.capabilities.cdp.page import Page
from hud.capabilities.cdp.picture_size import picture_size
from hud.capabilities.cdp.reply import record
from hud.capabilities.cdp.script import run_apart

Format = Literal["png", "jpeg", "webp"]

_RATIO = "() => devicePixelRatio"

# What a picture may measure along one side; browsers draw no larger ones reliably.
SIDE_LIMIT = 16_384


@dataclass(frozen=True, slots=True)
class Picture:
    """What is to be taken: a format, a region, a size.

    Attributes:
        quality: 0 to 100, for jpeg and webp.
        full_page: The whole document instead of the viewport.
        clip: This part of the viewport (of the document, when `full_page`).
        scale: Pixels per CSS pixel.
        max_size: Scale down, keeping proportions, to at most this width and height.
    """

    format: Format = "png"
    quality: int | None = None
    full_page: bool = False
    clip: Box | None = None
    scale: float = 1.0
    max_size: tuple[int, int] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it shows the viewport as it is."""
        whole = not self.full_page and self.clip is None
        return whole and self.scale == 1 and self.max_size is None


class PageShot(bytes):
    """An encoded picture of a page.

    Attributes:
        width, height: Its size in pixels.
        shown: Width and height of what it shows, in CSS pixels.
    """

    width: int
    height: int
    shown: tuple[float, float]

    @classmethod
    def of(cls, data: bytes, region: Box | None) -> Self:
        """Make one of encoded bytes; without a region its pixels are CSS pixels.

        Raises:
            ValueError: when the bytes are no picture.
        """
        self = cls(data)
        self.width, self.height = picture_size(data)
        self.shown = (region.width, region.height) if region else (self.width, self.height)
        return self


async def take(page: Page, picture: Picture, timeout_s: float) -> PageShot:
    """Return the encoded picture.

    Raises:
        CDPError: when there is nothing to see, or it takes too long.
    """
    params: Params = {"format": picture.format, "optimizeForSpeed": True}
    if picture.format not in ("png", "jpeg", "webp"):
        raise CDPError(f"no picture format {bounded(picture.format)!r}", hint="png, jpeg or webp")
    if picture.quality is not None and picture.format != "png":
        params["quality"] = min(max(int(picture.quality), 0), 100)
    if picture.is_plain and page.view is not None and page.view[0] == 1:
        # Asking how the page is shown takes longer than a frame; the picture's size tells as well.
        shot = await _capture(page, params, None, timeout_s)
        if page.is_leaving or _is_shown_as(page.view[1], shot):
            return shot
        if (await _view(page, timeout_s))[0] == 1:
            return shot
    ratio, metrics = await _view(page, timeout_s)
    region: Box | None = None
    if ratio != 1 or not picture.is_plain:
        region, scale = _clip(metrics, picture)
        params["clip"] = {
            "x": region.x,
            "y": region.y,
            "width": region.width,
            "height": region.height,
            "scale": scale / ratio,
        }
        params["captureBeyondViewport"] = picture.full_page
    return await _capture(page, params, region, timeout_s)


async def _capture(page: Page, params: Params, region: Box | None, timeout_s: float) -> PageShot:
    reply = await page.call("Page.captureScreenshot", params, timeout_s=timeout_s)
    try:
        data = base64.b64decode(str(reply.get("data", "")), validate=True)
        return PageShot.of(data, region)
    except (binascii.Error, ValueError) as error:
        raise CapabilityFault(f"the browser sent a picture that is none: {error}") from error


async def _view(page: Page, timeout_s: float) -> tuple[float, Params]:
    """Return how many pixels of the screen one CSS pixel takes, and the page's layout."""
    if page.view is None or not page.is_leaving:
        ratio = float(await run_apart(page, _RATIO, timeout_s=timeout_s) or 1.0)
        page.view = ratio, await page.call("Page.getLayoutMetrics", timeout_s=timeout_s)
    return page.view


def _is_shown_as(metrics: Params, shot: PageShot) -> bool:
    """Whether a picture has a pixel for each CSS pixel of the layout asked for earlier."""
    view = record(metrics, "cssVisualViewport")
    seen = (view.get("clientWidth"), view.get("clientHeight"))
    return seen == (shot.width, shot.height)


def _clip(metrics: Params, picture: Picture) -> tuple[Box, float]:
    """Return the region of the document to show, and its scale."""
    view, content = record(metrics, "cssVisualViewport"), record(metrics, "cssContentSize")
    whole = _whole(view, content, picture)
    region = _within(picture.clip, whole) if picture.clip is not None else whole
    if region.width < 1 or region.height < 1:
        raise CDPError("the part of the page to take a picture of is empty")
    scale = picture.scale
    if picture.max_size is not None:
        width, height = picture.max_size
        scale = min(scale, width / region.width, height / region.height)
    scale = min(scale, SIDE_LIMIT / region.width, SIDE_LIMIT / region.height)
    if not scale > 0:
        raise CDPError(f"a picture cannot be scaled by {scale:g}")
    return region, scale


def _whole(view: Params, content: Params, picture: Picture) -> Box:
    if picture.full_page:
        return Box(0, 0, content["width"], min(content["height"], SIDE_LIMIT))
    return Box(view["pageX"], view["pageY"], view["clientWidth"], view["clientHeight"])


def _within(clip: Box, whole: Box) -> Box:
    """Return the part of `clip`, which is relative to `whole`, that lies inside it."""
    left, top = max(clip.x, 0.0), max(clip.y, 0.0)
    right = min(clip.x + clip.width, whole.width)
    bottom = min(clip.y + clip.height, whole.height)
    return Box(whole.x + left, whole.y + top, right - left, bottom - top)
