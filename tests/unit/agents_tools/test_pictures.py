"""Pictures from anywhere, made into what a model's API takes."""

from __future__ import annotations

import base64
import io
import random
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hud.agents.tools.pictures import fit
from hud.capabilities.cdp.picture_size import picture_size
from hud.trace.content import ImageContent, TextContent
from tests.needs import need_module


@pytest.fixture(autouse=True)
def pillow() -> None:
    need_module("PIL")


def encoded(kind: str, size: tuple[int, int], mode: str = "RGB", **options: Any) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    noise = random.Random(7).randbytes(size[0] * size[1])
    Image.frombytes("L", size, noise).convert(mode).save(out, kind, **options)
    return out.getvalue()


def content(data: bytes, mime_type: str = "image/png") -> ImageContent:
    return ImageContent(data=base64.b64encode(data).decode(), mimeType=mime_type)


def opened(image: ImageContent | TextContent) -> Any:
    from PIL import Image

    assert isinstance(image, ImageContent), image
    with Image.open(io.BytesIO(base64.b64decode(image.data))) as picture:
        picture.load()
        assert Image.MIME[picture.format or ""] == image.mimeType
        return picture


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_a_picture_within_the_limits_is_returned_as_it_is(kind: str) -> None:
    given = content(encoded(kind, (300, 200)), "image/whatever")
    kept = await fit(given)
    assert isinstance(kept, ImageContent)
    assert kept.data == given.data
    assert opened(kept).size == (300, 200)


async def test_an_8k_picture_is_scaled_down_to_the_limits() -> None:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (7680, 4320), "red").save(out, "PNG", compress_level=1)
    kept = opened(await fit(content(out.getvalue()), max_side=1568, max_pixels=1_150_000))
    assert max(kept.size) <= 1568
    assert kept.width * kept.height <= 1_150_000
    assert kept.width / kept.height == pytest.approx(16 / 9, rel=0.01)
    assert kept.getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
async def test_every_kind_of_pixel_is_shown(mode: str) -> None:
    from PIL import Image

    out = io.BytesIO()
    Image.new(mode, (900, 700)).save(out, "PNG")
    assert max(opened(await fit(content(out.getvalue()), max_side=100)).size) == 100


async def test_a_picture_that_does_not_compress_becomes_a_jpeg_and_then_smaller() -> None:
    given = content(encoded("PNG", (1000, 1000), "RGBA"))
    jpeg = await fit(given, max_bytes=900_000)
    assert isinstance(jpeg, ImageContent)
    assert (jpeg.mimeType, len(jpeg.data) <= 900_000) == ("image/jpeg", True)
    assert opened(jpeg).size == (1000, 1000)
    small = await fit(given, max_bytes=20_000)
    assert isinstance(small, ImageContent)
    assert len(small.data) <= 20_000
    assert opened(small).width < 1000
    none = await fit(given, max_bytes=10)
    assert isinstance(none, TextContent)


async def test_an_animation_becomes_its_first_picture() -> None:
    from PIL import Image

    out = io.BytesIO()
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    shown = await fit(content(out.getvalue(), "image/gif"))
    assert isinstance(shown, ImageContent)
    assert shown.mimeType == "image/png"
    assert opened(shown).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def png_of(width: int, height: int) -> bytes:
    """Return a small PNG that claims to be of any size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (png_of(60_000, 60_000), "60000x60000 pixels, too many"),
        (png_of(500, 500), "cannot be decoded"),
        (b"", "no PNG, JPEG, WebP or GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PNG, JPEG, WebP or GIF"),
        (b"\xff\xd8\xff\xe0", "no PNG, JPEG, WebP or GIF"),
    ],
)
async def test_what_cannot_be_shown_becomes_a_notice(data: bytes, said: str) -> None:
    notice = await fit(content(data))
    assert isinstance(notice, TextContent)
    assert said in notice.text


async def test_what_is_no_base64_becomes_a_notice() -> None:
    notice = await fit(ImageContent(data="no base64 §", mimeType="image/png"))
    assert isinstance(notice, TextContent)
    assert "no base64" in notice.text


async def test_without_pillow_a_small_picture_passes_and_a_large_one_becomes_a_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small, large = encoded("PNG", (30, 20)), encoded("PNG", (3000, 20))
    monkeypatch.setattr("importlib.util.find_spec", dict[str, object]().get)
    assert await fit(content(small, "image/jpeg")) == content(small, "image/png")
    notice = await fit(content(large))
    assert isinstance(notice, TextContent)
    assert "pillow" in notice.text


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]), st.data())
async def test_a_damaged_picture_is_shown_or_becomes_a_notice(
    kind: str, data: st.DataObject
) -> None:
    whole = bytearray(encoded(kind, (60, 50)))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    result = await fit(content(cut), max_side=40, max_pixels=5_000)
    if isinstance(result, ImageContent):
        assert max(opened(result).size) <= 40


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (641, 77), (3, 1500)])
def test_a_size_is_read_without_decoding(
    kind: str, options: dict[str, Any], size: tuple[int, int]
) -> None:
    assert picture_size(encoded(kind, size, **options)) == size


def test_a_size_is_read_of_a_webp_with_transparency() -> None:
    assert picture_size(encoded("WEBP", (321, 123), "RGBA", exact=True)) == (321, 123)
