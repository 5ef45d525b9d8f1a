"""How a picture of a screen is encoded: the choice, as data.

Encoding itself is each client's part; this module loads no imaging library.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ScreenshotMimeType = Literal["image/png", "image/webp"]


class PngScreenshotEncoding(BaseModel):
    """Screenshots as PNG: every pixel exact."""

    model_config = ConfigDict(frozen=True)

    mime_type: Literal["image/png"] = "image/png"


class WebPScreenshotEncoding(BaseModel):
    """Screenshots as WebP: smaller, with losses."""

    model_config = ConfigDict(frozen=True)

    mime_type: Literal["image/webp"] = "image/webp"
    quality: int = Field(default=85, ge=0, le=100)


ScreenshotEncoding = Annotated[
    PngScreenshotEncoding | WebPScreenshotEncoding, Field(discriminator="mime_type")
]
