"""Long texts and media leave a step's JSON for blobs, and come back when it is read.

A moved value is replaced by `{"$blob": sha256, "size_bytes": n, "media_type": …}`, with an
`encoding` where the string was not the content itself. A key of the payload that looks like the
marker is escaped, so nothing a step says can name somebody's blob.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any, cast

from hud._core import json
from hud._core.errors import StoreError

TEXT_LIMIT_BYTES = 64 * 1024
MEDIA_LIMIT_BYTES = 4 * 1024
INLINE_LIMIT_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 200

Keep = Callable[[bytes, str], str]
Fetch = Callable[[str], bytes]

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_MEDIA_KEYS = ("mimeType", "media_type", "mime_type", "mediaType")
_MEDIA_TYPE = re.compile(r"(?:image|audio|video)/[A-Za-z0-9.+-]{1,64}")
_DATA_URL = re.compile(r"data:((?:image|audio|video)/[A-Za-z0-9.+-]{1,64});base64,")
_AUDIO_FORMATS = frozenset({"wav", "mp3", "flac", "opus", "aac", "pcm16", "ogg"})
_ESCAPED_KEY = re.compile(r"\$+blob")
_HINTS = (b"image/", b"audio/", b"video/", b"input_audio")


class _TooDeep(Exception):
    """The payload nests deeper than `MAX_DEPTH`."""


def move_out(payload: bytes, keep: Keep) -> tuple[bytes, bool]:
    """Return `payload` without its long texts and media, and whether anything was moved.

    Args:
        payload: One JSON document.
        keep: Stores bytes of a media type and returns their SHA-256.

    A document that cannot be taken apart (too deep, not valid) stays as it is when it is short
    and becomes one blob when it is not; nothing is ever dropped.
    """
    size = len(payload)
    if size <= MEDIA_LIMIT_BYTES:
        return payload, False
    if size <= TEXT_LIMIT_BYTES and not any(hint in payload for hint in _HINTS):
        return payload, False
    mover = _Mover(keep)
    try:
        document = mover.moved(json.decode(payload), None, 0)
    except (ValueError, _TooDeep):
        return (payload, False) if size <= TEXT_LIMIT_BYTES else (_whole(payload, keep), True)
    if not mover.count:
        return (payload, False) if size <= INLINE_LIMIT_BYTES else (_whole(payload, keep), True)
    shorter = json.encode(document)
    if len(shorter) > INLINE_LIMIT_BYTES:
        return _whole(payload, keep), True
    return shorter, True


def put_back(payload: bytes, fetch: Fetch) -> bytes:
    """Return the JSON document that `move_out` took apart, every moved value in its place.

    Raises:
        StoreError: when a blob is missing or damaged.
    """
    document = json.decode(payload)
    if isinstance(document, dict):
        reference = cast("dict[str, Any]", document)
        if reference.get("encoding") == "json" and isinstance(reference.get("$blob"), str):
            return fetch(reference["$blob"])
    return json.encode(_restored(document, fetch))


def _whole(payload: bytes, keep: Keep) -> bytes:
    return json.encode(_reference(keep(payload, _JSON), len(payload), _JSON, "json"))


def _reference(sha256: str, size: int, media_type: str, encoding: str | None) -> dict[str, Any]:
    reference: dict[str, Any] = {"$blob": sha256, "size_bytes": size, "media_type": media_type}
    if encoding is not None:
        reference["encoding"] = encoding
    return reference


class _Mover:
    """Walks one document; `count` says how many values it moved."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self.count = 0

    def moved(self, value: Any, parent: dict[str, Any] | None, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise _TooDeep
        if isinstance(value, str):
            return self._text(value, parent) if len(value) > MEDIA_LIMIT_BYTES else value
        if isinstance(value, list):
            items = cast("list[Any]", value)
            return [self.moved(item, None, depth + 1) for item in items]
        if isinstance(value, dict):
            table = cast("dict[str, Any]", value)
            return {
                "$" + key if _ESCAPED_KEY.fullmatch(key) else key: self.moved(
                    item, table, depth + 1
                )
                for key, item in table.items()
            }
        return value

    def _text(self, text: str, parent: dict[str, Any] | None) -> Any:
        url = _DATA_URL.match(text)
        if url is not None:
            content = _decoded(text[url.end() :])
            if content is not None:
                return self._moved(content, url[1], "data-url")
        media_type = _media_type(parent)
        if media_type is not None:
            content = _decoded(text)
            if content is not None:
                return self._moved(content, media_type, "base64")
        if len(text) <= TEXT_LIMIT_BYTES // 4:  # at most 4 bytes per character
            return text
        encoded = text.encode()
        return self._moved(encoded, _TEXT, None) if len(encoded) > TEXT_LIMIT_BYTES else text

    def _moved(self, content: bytes, media_type: str, encoding: str | None) -> dict[str, Any]:
        self.count += 1
        return _reference(self._keep(content, media_type), len(content), media_type, encoding)


def _media_type(parent: dict[str, Any] | None) -> str | None:
    if parent is None:
        return None
    for key in _MEDIA_KEYS:
        named = parent.get(key)
        if isinstance(named, str) and _MEDIA_TYPE.fullmatch(named):
            return named
    kind = parent.get("format")
    return f"audio/{kind}" if isinstance(kind, str) and kind in _AUDIO_FORMATS else None


def _decoded(text: str) -> bytes | None:
    """Return the bytes of `text` when it is base64 that encodes back to exactly itself."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if base64.b64encode(content) == text.encode() else None


def _restored(value: Any, fetch: Fetch) -> Any:
    if isinstance(value, list):
        return [_restored(item, fetch) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    table = cast("dict[str, Any]", value)
    if isinstance(table.get("$blob"), str):
        return _content(table, fetch)
    return {
        key[1:] if _ESCAPED_KEY.fullmatch(key) else key: _restored(item, fetch)
        for key, item in table.items()
    }


def _content(reference: dict[str, Any], fetch: Fetch) -> str:
    content = fetch(reference["$blob"])
    match reference.get("encoding"):
        case None:
            return content.decode()
        case "base64":
            return base64.b64encode(content).decode()
        case "data-url":
            encoded = base64.b64encode(content).decode()
            return f"data:{reference['media_type']};base64,{encoded}"
        case other:
            raise StoreError(
                f"the store holds a value encoded as {other!r}, which this hud cannot read",
                hint="upgrade hud",
            )
