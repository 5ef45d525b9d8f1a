"""Pictures in files, made fit to be shown to a model: known formats, whole, of bounded size.

A picture a model API refuses would end the run, and what is in a file is the agent's doing; so
with pillow at hand every picture is decoded first, and made smaller where it is too large.
"""

from __future__ import annotations

import io
import warnings

from hud.agents.tools.base import ToolError

MAX_PICTURE_BYTES = 3_750_000
"""In base64 this is 5 MB, what the strictest provider takes."""
MAX_SIDE = 2_000
"""Pixels; providers refuse larger ones where a conversation has many pictures."""
MAX_FILE_BYTES = 32 << 20
_MAX_PIXELS = 100_000_000


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


def fit(data: bytes, mime_type: str) -> tuple[bytes, str]:
    """Return a picture a model API takes, and its type. Takes long: call it in a thread.

    Raises:
        ToolError: when it is damaged, or too large.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError:
        if len(data) > MAX_PICTURE_BYTES:
            raise ToolError(
                f"a picture of {len(data)} bytes is too large to be shown; make it smaller first"
            ) from None
        return data, mime_type
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "WEBP")) as image:
                width, height = image.size
                if width * height > _MAX_PIXELS:
                    raise ToolError(
                        f"a picture of {width}x{height} pixels is too large to be shown; make it "
                        "smaller first"
                    )
                image.load()
                if max(width, height) <= MAX_SIDE and len(data) <= MAX_PICTURE_BYTES:
                    return data, mime_type
                return _smaller(image)
    except ToolError:
        raise
    except Exception as error:  # what a decoder raises on damaged data is anything at all
        raise ToolError(f"the picture cannot be read: {error}") from error


def _smaller(image: object) -> tuple[bytes, str]:
    from PIL import Image

    assert isinstance(image, Image.Image)
    picture = image.convert("RGBA" if image.has_transparency_data else "RGB")
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    out = io.BytesIO()
    picture.save(out, "PNG")
    if out.tell() > MAX_PICTURE_BYTES:
        out = io.BytesIO()
        picture.convert("RGB").save(out, "JPEG", quality=85)
        return out.getvalue(), "image/jpeg"
    return out.getvalue(), "image/png"
