"""Blobs of the team: screenshots, videos, long texts, handed out so that no browser runs them.

What is in them came from an agent: only pictures, sounds and films are named as what they are;
everything else is a file to keep. Whatever a browser makes of one, it does so in a sandbox.
"""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response

from hud._core.errors import NotFound
from hud.platform.errors import ApiError, not_found
from hud.platform.identity import Reader
from hud.platform.services import services_of

router = APIRouter(prefix="/v2/blobs", tags=["blobs"])

# Each is decoded by the browser itself and holds no script; SVG is not among them.
_SHOWN = frozenset(
    (
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"),
        *("video/mp4", "video/webm", "video/ogg"),
        *("audio/mpeg", "audio/mp4", "audio/ogg", "audio/wav", "audio/webm", "audio/flac"),
        "audio/aac",
    )
)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


@router.head("/{sha256}", response_class=Response, include_in_schema=False)
@router.get("/{sha256}", response_class=Response)
def read_blob(
    request: Request,
    caller: Reader,
    sha256: Sha256,
    range_: Annotated[str | None, Header(alias="range", max_length=200)] = None,
    if_none_match: Annotated[str | None, Header(max_length=2000)] = None,
) -> Response:
    """Read one of the team's blobs, or with a Range header a part of it."""
    services = services_of(request)
    try:
        blob = services.store.find_blob(sha256, team=caller.team)
    except NotFound:
        not_found("blob", sha256)
    headers = _headers(sha256, blob.media_type)
    if if_none_match is not None and f'"{sha256}"' in if_none_match:
        return Response(status_code=304, headers=headers)
    part = _part(range_, blob.size_bytes)
    start, end = part or (0, blob.size_bytes)
    if request.method == "HEAD":
        headers["Content-Length"] = str(end - start)
        content = b""
    else:
        content = services.store.read_blob(sha256, start=start, stop=end, team=caller.team)
    if part is None:
        return Response(content, headers=headers)
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size_bytes}"
    return Response(content, status_code=206, headers=headers)


def _headers(sha256: str, media_type: str) -> dict[str, str]:
    is_shown = media_type in _SHOWN
    return {
        "Content-Type": media_type if is_shown else "application/octet-stream",
        "Content-Disposition": "inline" if is_shown else f'attachment; filename="{sha256[:16]}"',
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, max-age=31536000, immutable",
        "ETag": f'"{sha256}"',
        "Accept-Ranges": "bytes",
    }


def _part(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte asked for and the one after the last; None for all of it.

    Raises:
        ApiError: with status 416, when there is nothing there.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return None  # several parts at once, or another unit: the whole is a right answer
    if match[1] == "":
        start, end = max(size - int(match[2]), 0), size
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
    if start >= size or start >= end:
        raise ApiError(416, f"the blob has {size} bytes", kind="bad_input")
    return start, end
