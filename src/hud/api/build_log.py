"""Following a build's log over its WebSocket, each line once, whatever happens to the connection.

A server tells the whole log to whoever connects, so after a break the lines that were heard are
skipped. The verdict is not here: it comes from asking for the build's state.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import quote, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import ClientConnection, connect

from hud._core import json
from hud._core.errors import bounded
from hud.api.errors import KeyRefused, PlatformUnreachable
from hud.api.place import PlatformPlace

_DENIED = 4003
_BREAKS_AT_MOST = 5
_PAUSE_S = 1.0
_FRAME_BYTES = 1024 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One thing a log says.

    Attributes:
        kind: A line of the build, or something about it.
        at_ms: When, in milliseconds since the epoch; None where it was not said.
    """

    kind: Literal["line", "note"]
    text: str
    at_ms: int | None = None


def follow_build(place: PlatformPlace, build_id: str) -> Generator[LogEntry]:
    """Yield what a build says until it is over.

    Raises:
        KeyRefused: when the log may not be read with this key.
        PlatformUnreachable: when it cannot be, several times in a row.
    """
    heard = breaks = 0
    while True:
        seen = 0
        try:
            with _connected(place, build_id) as socket:
                for message in socket:
                    frame = _frame(message)
                    match frame.get("type"):
                        case "log":
                            seen += 1
                            if seen > heard:
                                heard, breaks = seen, 0
                                yield _line(frame)
                        case "status":
                            yield LogEntry("note", str(frame.get("message", "")))
                        case "complete" | "error":
                            return
                        case _:
                            pass
        except ConnectionClosed as error:
            if error.rcvd is not None and error.rcvd.code == _DENIED:
                raise KeyRefused(
                    f"the log cannot be read: {bounded(error.rcvd.reason or 'no access', 200)}",
                    hint="check HUD_API_KEY",
                ) from error
        except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as error:
            if breaks >= _BREAKS_AT_MOST:
                raise PlatformUnreachable(
                    f"the log of the build cannot be followed: {bounded(str(error), 200)}"
                ) from None  # the address, with the key in it, may be in the text of the cause
        breaks += 1
        if breaks > _BREAKS_AT_MOST:
            raise PlatformUnreachable("the log of the build breaks off again and again")
        time.sleep(_PAUSE_S)


def _connected(place: PlatformPlace, build_id: str) -> ClientConnection:
    parts = urlsplit(place.api_url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    key = quote(place.api_key or "", safe="")
    path = f"{parts.path}/v2/builds/{quote(build_id, safe='')}/logs"
    return connect(
        f"{scheme}://{parts.netloc}{path}?api_key={key}",
        proxy=None if parts.hostname in _LOOPBACK else True,
        max_size=_FRAME_BYTES,
    )


def _frame(message: str | bytes) -> dict[str, Any]:
    try:
        found: Any = json.decode(message if isinstance(message, bytes) else message.encode())
    except ValueError:
        return {"type": "log", "message": str(message)}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _line(frame: dict[str, Any]) -> LogEntry:
    at = frame.get("timestamp")
    return LogEntry("line", str(frame.get("message", "")), at if isinstance(at, int) else None)
