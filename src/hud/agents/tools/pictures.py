"""Make a picture from anywhere one that a model's API takes, or say why it cannot be shown.

An API refuses a whole conversation for one picture that is too large, broken or mislabelled.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import importlib.util
import io
import math
from typing import TYPE_CHECKING

from hud._core.errors import bounded
from hud.agents.tools.base import ToolError
from hud.capabilities.cdp.picture_size import picture_size
from hud.trace.content import ImageContent, TextContent

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE = 2_000
MAX_PIXELS = 4_000_000
MAX_BYTES = 4_500_000

MAX_FILE_BYTES = 32 << 20
"""Bytes of a file that is read as a picture, at most."""
LARGEST_DATA = 96 << 20
"""Characters of base64 that are looked at, at most."""
LARGEST_PIXELS = 80_000_000
"""Pixels that are decoded, at most: twice an 8K screen."""

_MIME = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
_ALWAYS_TAKEN = ("PNG", "JPEG", "WEBP")
_QUALITIES = (88, 70, 50)
_SHRINK = 0.7
_ATTEMPTS = 8


class Unshowable(Exception):
    """Why a picture cannot be shown."""


def mime_type_of(data: bytes) -> str | None:
    """Return the type of a picture that models take, by its first bytes; None for all else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return None


async def shown(data: bytes) -> ImageContent:
    """Return a file's picture as an API takes it.

    Raises:
        ToolError: when it cannot be shown.
    """
    image = ImageContent(data=base64.b64encode(data).decode("ascii"), mimeType="image/png")
    try:
        return await asyncio.to_thread(_fit, image, MAX_SIDE, MAX_PIXELS, MAX_BYTES)
    except Unshowable as reason:
        raise ToolError(f"the picture cannot be shown: {reason}") from reason


async def fit(
    image: ImageContent,
    *,
    max_side: int = MAX_SIDE,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> ImageContent | TextContent:
    """Return a picture within the limits, or a notice where that cannot be.

    One that is within them already is returned as it is, with its media type put right. Decoding
    happens in a thread.

    Args:
        max_side: Pixels of the longer side.
        max_pixels: Width times height.
        max_bytes: Of the base64 text.
    """
    try:
        return await asyncio.to_thread(_fit, image, max_side, max_pixels, max_bytes)
    except Unshowable as reason:
        return TextContent(text=f"[A picture cannot be shown here: {reason}]")


def _fit(image: ImageContent, max_side: int, max_pixels: int, max_bytes: int) -> ImageContent:
    data = _bytes(image.data)
    size = _size(data)
    is_within = (
        max(size) <= max_side and size[0] * size[1] <= max_pixels and len(image.data) <= max_bytes
    )
    if importlib.util.find_spec("PIL") is None:
        if is_within and (mime_type := mime_type_of(data)) not in (None, _MIME["GIF"]):
            return image.model_copy(update={"mimeType": mime_type})
        raise Unshowable(
            f"it is {size[0]}x{size[1]} pixels, and making another one of it needs the Python "
            "package pillow"
        )
    if size[0] * size[1] > LARGEST_PIXELS:
        raise Unshowable(f"it is {size[0]}x{size[1]} pixels, too many to be decoded")
    decoded, kind = _decoded(data, size, _target(size, max_side, max_pixels))
    if is_within and kind in _ALWAYS_TAKEN:
        return image.model_copy(update={"mimeType": _MIME[kind]})
    encoded, mime_type = _encoded(decoded, kind, max_bytes)
    return image.model_copy(update={"data": encoded, "mimeType": mime_type})


def _bytes(text: str) -> bytes:
    if len(text) > LARGEST_DATA:
        raise Unshowable(f"it has {len(text)} characters of base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unshowable(f"it is no base64 ({error})") from error


def _size(data: bytes) -> tuple[int, int]:
    """Return a picture's size without decoding it: what is too large must never be opened."""
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    try:
        return picture_size(data)
    except ValueError:
        raise Unshowable("it is no PNG, JPEG, WebP or GIF") from None


def _target(size: tuple[int, int], max_side: int, max_pixels: int) -> tuple[int, int]:
    width, height = size
    factor = min(1.0, max_side / max(size), math.sqrt(max_pixels / max(1, width * height)))
    return max(1, math.floor(width * factor)), max(1, math.floor(height * factor))


def _decoded(
    data: bytes, size: tuple[int, int], target: tuple[int, int]
) -> tuple[Image.Image, str]:
    """Return the picture, scaled down to the target, and its format."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=tuple(_MIME)) as opened:
            kind = opened.format or ""
            if opened.size != size and opened.size != size[::-1]:
                raise Unshowable("it contradicts itself about its size")
            if target != size:
                opened.draft("RGB", target)  # a JPEG is decoded smaller at once
            opened.load()
            plain = _plain(opened)
            if target != size:
                return plain.resize(target, Image.Resampling.LANCZOS, reducing_gap=2.0), kind
            return plain, kind
    except Unshowable:
        raise
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise Unshowable(f"it cannot be decoded ({bounded(str(error) or repr(error))})") from error


def _plain(image: Image.Image) -> Image.Image:
    """Return a copy in a mode that every format knows."""
    if image.mode in ("RGB", "L"):
        return image.copy()
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    return image.convert("RGBA" if has_alpha else "RGB")


def _encoded(image: Image.Image, kind: str, max_bytes: int) -> tuple[str, str]:
    """Return base64 within the limit and its media type: lossless when that fits."""
    if kind != "JPEG":
        text = _saved(image, "PNG")
        if len(text) <= max_bytes:
            return text, "image/png"
    flat = _flat(image)
    for _ in range(_ATTEMPTS):
        for quality in _QUALITIES:
            text = _saved(flat, "JPEG", quality)
            if len(text) <= max_bytes:
                return text, "image/jpeg"
        smaller = max(1, int(flat.width * _SHRINK)), max(1, int(flat.height * _SHRINK))
        flat = flat.resize(smaller)
    raise Unshowable(f"it cannot be made as small as {max_bytes} bytes")


def _saved(image: Image.Image, kind: str, quality: int = 88) -> str:
    out = io.BytesIO()
    if kind == "PNG":
        image.save(out, "PNG", compress_level=4)
    else:
        image.save(out, "JPEG", quality=quality)
    return base64.b64encode(out.getvalue()).decode("ascii")


def _flat(image: Image.Image) -> Image.Image:
    """Return the picture on white, as a JPEG has no transparency."""
    if image.mode != "RGBA":
        return image
    from PIL import Image

    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white
