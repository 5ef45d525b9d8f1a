"""Putting a file to an address that lets it in by itself: without the key, never all in memory.

Asking for the address is one of `calls`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from hud._core import json
from hud._core.addresses import shown_url
from hud._core.errors import bounded
from hud._core.redact import redact
from hud._version import __version__
from hud.api.errors import PlatformRefused, PlatformUnreachable

_CHUNK_BYTES = 256 * 1024
_ANSWER_BYTES = 64 * 1024
_TIMEOUT_S = 300.0
_TRIES = 3
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def put_file(
    url: str, path: Path, content_type: str, *, on_progress: Callable[[int], None] | None = None
) -> None:
    """Upload a file; a connection that breaks is tried again from the file's beginning.

    Args:
        url: Where to; it may hold a secret, which no message repeats.
        path: The file.
        content_type: What it is.
        on_progress: Told how many bytes were sent, some at a time; again from 0 when tried again.

    Raises:
        PlatformRefused: when it is answered with anything but success.
        PlatformUnreachable: when nothing answers.
    """
    where = shown_url(url.partition("?")[0])
    headers = {
        "Content-Type": content_type,
        "Content-Length": str(path.stat().st_size),
        "User-Agent": f"hud/{__version__}",
    }
    # A proxy is asked for the world outside, not for this machine.
    is_local = urlsplit(url).hostname in _LOOPBACK
    limits = httpx.Timeout(_TIMEOUT_S, connect=10.0)
    with httpx.Client(timeout=limits, trust_env=not is_local) as http:
        for left in reversed(range(_TRIES)):
            try:
                with http.stream(
                    "PUT", url, content=_chunks(path, on_progress), headers=headers
                ) as reply:
                    body = _beginning(reply)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                if left and isinstance(error, httpx.TransportError):
                    continue
                why = redact(bounded(str(error) or type(error).__name__, 200))
                raise PlatformUnreachable(f"{where} cannot be uploaded to: {why}") from error
            if not 200 <= reply.status_code < 300:
                detail, hint = _told(body)
                said = detail or f"status {reply.status_code}"
                raise PlatformRefused(
                    f"the upload was refused: {said}", hint=hint, status=reply.status_code
                )
            return


def _chunks(path: Path, on_progress: Callable[[int], None] | None) -> Iterator[bytes]:
    sent = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
            sent += len(chunk)
            if on_progress is not None:
                on_progress(sent)


def _beginning(reply: httpx.Response) -> bytes:
    body = bytearray()
    for chunk in reply.iter_bytes():
        body += chunk
        if len(body) > _ANSWER_BYTES:
            break
    return bytes(body)


def _told(body: bytes) -> tuple[str, str | None]:
    try:
        data: Any = json.decode(body)
    except ValueError:
        return "", None
    held = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    detail, hint = held.get("detail"), held.get("hint")
    text = redact(bounded(detail, 1500)) if isinstance(detail, str) else ""
    return text, redact(bounded(hint, 300)) if isinstance(hint, str) else None
