"""What a tool function returned, or raised, as the content of an MCP result."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterable
from typing import Any, cast

import mcp.types as wire
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from hud._core.errors import HudError, bounded
from hud._core.redact import redact
from hud.trace.content import (
    AudioContent,
    EmbeddedResource,
    ImageContent,
    MCPToolResult,
    ResourceLink,
    TextContent,
)

MAX_RESULT_BYTES = 16 * 1024 * 1024
_ERROR_CHARACTERS = 4_000

_BLOCKS = (
    wire.TextContent,
    wire.ImageContent,
    wire.AudioContent,
    wire.ResourceLink,
    wire.EmbeddedResource,
)
_TWINS = (TextContent, ImageContent, AudioContent, ResourceLink, EmbeddedResource)
_block: TypeAdapter[wire.ContentBlock] = TypeAdapter(wire.ContentBlock)

# The first bytes of what models can look at or listen to; everything else is a file.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
)


def failed(message: str) -> wire.CallToolResult:
    """Return a result that says what went wrong; secrets in the message are removed."""
    text = bounded(redact(_storable(message)), _ERROR_CHARACTERS)
    return wire.CallToolResult(content=[wire.TextContent(type="text", text=text)], is_error=True)


def raised(error: BaseException) -> wire.CallToolResult:
    """Return what an exception says, without its traceback."""
    text = f"{type(error).__qualname__}: {error}" if str(error) else type(error).__qualname__
    if isinstance(error, HudError):
        text = f"{error.message} ({error.hint})" if error.hint else error.message
    return failed(text)


def result_of(name: str, value: Any) -> wire.CallToolResult:
    """Return a function's value as the result of the tool `name`.

    Text stays text; bytes become an image, a sound or a file by their first bytes; Pillow images
    become PNG; content blocks and whole results pass through; lists that hold any of these are
    unrolled; everything else is JSON, and structured content too when it is an object.
    """
    try:
        result = _result(name, value)
        size = sum(_size(block) for block in result.content)
        if result.structured_content is not None:
            size += len(to_json(result.structured_content))
    except (ValueError, TypeError, OSError, RecursionError, PydanticSerializationError) as error:
        return failed(f"tool {name!r} returned what cannot be sent: {error}")
    if size > MAX_RESULT_BYTES:
        limit = f"{MAX_RESULT_BYTES // (1024 * 1024)} MiB"
        return failed(f"tool {name!r} returned {size} bytes, more than the {limit} allowed")
    return result


def _result(name: str, value: Any) -> wire.CallToolResult:
    if isinstance(value, wire.CallToolResult):
        return value
    if isinstance(value, MCPToolResult):
        plain = value.model_dump(mode="json", by_alias=True, exclude_none=True)
        return wire.CallToolResult.model_validate(plain)
    if value is None:
        return wire.CallToolResult(content=[])
    if _is_content(value):
        return wire.CallToolResult(content=[_content(name, value)])
    if isinstance(value, list | tuple):
        held = cast("Iterable[Any]", value)
        if any(_is_content(one) and not isinstance(one, str) for one in held):
            return wire.CallToolResult(content=[_content(name, one) for one in held])
    plain = to_jsonable_python(value, by_alias=True, inf_nan_mode="null", fallback=str)
    text = to_json(plain, inf_nan_mode="null").decode()
    return wire.CallToolResult(
        content=[wire.TextContent(type="text", text=text)],
        structured_content=plain if isinstance(plain, dict) else None,
    )


def _is_content(value: Any) -> bool:
    return (
        isinstance(value, (str, bytes, bytearray, memoryview, *_BLOCKS))
        or _is_picture(value)
        or isinstance(value, _TWINS)
        or hasattr(value, "to_image_content")
        or hasattr(value, "to_audio_content")
    )


def _content(name: str, value: Any) -> wire.ContentBlock:
    if isinstance(value, str):
        return wire.TextContent(type="text", text=_storable(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return _from_bytes(name, bytes(cast("bytes", value)))
    if isinstance(value, _BLOCKS):
        return value
    if _is_picture(value):
        encoded = io.BytesIO()
        value.save(encoded, "PNG")
        return _from_bytes(name, encoded.getvalue())
    for convert in ("to_image_content", "to_audio_content"):
        if hasattr(value, convert):
            return _block.validate_python(getattr(value, convert)())
    if isinstance(value, _TWINS):
        return _block.validate_python(value.model_dump(mode="json", by_alias=True))
    plain = to_json(value, by_alias=True, inf_nan_mode="null", fallback=str)
    return wire.TextContent(type="text", text=plain.decode())


def _from_bytes(name: str, data: bytes) -> wire.ContentBlock:
    encoded = base64.b64encode(data).decode()
    kind = next((mime for at, magic, mime in _MAGIC if data[at : at + len(magic)] == magic), None)
    if kind is None:
        blob = wire.BlobResourceContents(
            uri=f"tool://{name}/result", mime_type="application/octet-stream", blob=encoded
        )
        return wire.EmbeddedResource(type="resource", resource=blob)
    if kind.startswith("audio/"):
        return wire.AudioContent(type="audio", data=encoded, mime_type=kind)
    return wire.ImageContent(type="image", data=encoded, mime_type=kind)


def _is_picture(value: Any) -> bool:
    """Tell whether it is a Pillow image; nobody has one where Pillow is not loaded."""
    pillow: Any = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def _size(block: wire.ContentBlock) -> int:
    if isinstance(block, wire.TextContent):
        return len(block.text.encode())
    if isinstance(block, wire.ImageContent | wire.AudioContent):
        return len(block.data)
    return len(block.model_dump_json())


def _storable(text: str) -> str:
    """Return text that can be encoded: half surrogate pairs are replaced."""
    return text.encode("utf-8", "replace").decode()
