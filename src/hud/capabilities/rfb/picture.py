"""A picture of a screen as bytes, and where its pixels lie on the screen.

What the screen shows is `frame`.
"""

from __future__ import annotations

import io
from typing import Self

from PIL import Image

from hud.capabilities.rfb.errors import RFBError
from hud.capabilities.screenshots import ScreenshotMimeType

Region = tuple[int, int, int, int]
"""Left, top, width, height."""

_PNG_LEVEL = 1
_WEBP_METHOD = 1


class Screenshot(bytes):
    """An encoded picture.

    Attributes:
        mime_type: How it is encoded.
        width, height: Its size in pixels.
        region: Which part of the screen it shows.
    """

    mime_type: ScreenshotMimeType
    width: int
    height: int
    region: Region

    @classmethod
    def of(
        cls, data: bytes, mime_type: ScreenshotMimeType, size: tuple[int, int], region: Region
    ) -> Self:
        """Make one of encoded bytes."""
        self = cls(data)
        self.mime_type = mime_type
        self.width, self.height = size
        self.region = region
        return self

    def to_screen(self, x: float, y: float) -> tuple[int, int]:
        """Return the place on the screen that a place on this picture shows.

        A model that sees a scaled or cut picture names places on the picture.

        Raises:
            RFBError: when the place is outside the picture.
        """
        if not (0 <= x < self.width and 0 <= y < self.height):
            raise RFBError(f"{x:g},{y:g} is outside the picture of {self.width}x{self.height}")
        left, top, width, height = self.region
        return left + int(x * width / self.width), top + int(y * height / self.height)


def size_of(
    region: Region, scale: float | None, max_width: int | None, max_height: int | None
) -> tuple[int, int]:
    """Return the size of a picture of a region; never larger than the region unless scaled so.

    Raises:
        RFBError: when a bound is no positive number.
    """
    _, _, width, height = region
    factor = 1.0 if scale is None else scale
    for bound in (scale, max_width, max_height):
        if bound is not None and not 0 < bound < 1 << 15:
            raise RFBError(f"a screenshot cannot be scaled by or to {bound}")
    if max_width is not None:
        factor = min(factor, max_width / width)
    if max_height is not None:
        factor = min(factor, max_height / height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size[0] * size[1] > 1 << 26:
        raise RFBError(f"a screenshot of {size[0]}x{size[1]} pixels is too large")
    return size


def encode(
    image: Image.Image, size: tuple[int, int], mime_type: ScreenshotMimeType, quality: int
) -> bytes:
    """Scale and encode an image. Takes milliseconds: call it in a thread."""
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    out = io.BytesIO()
    if mime_type == "image/png":
        image.save(out, "PNG", compress_level=_PNG_LEVEL)
    else:
        image.save(out, "WEBP", quality=quality, method=_WEBP_METHOD)
    return out.getvalue()
