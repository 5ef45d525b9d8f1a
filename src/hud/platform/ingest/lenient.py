"""Reading what a stranger sent: a JSON object, and fields that may be anything.

A value that is not what it should be is as good as absent; a report is never refused for one.
"""

from __future__ import annotations

import json as stdlib_json
import math
from typing import Any, cast

from hud._core import json
from hud._core.errors import bounded
from hud.platform.errors import ApiError
from hud.trace.clock import micros
from hud.trace.recorder import spell

_EARLIEST = 946_684_800_000_000  # the year 2000, in microseconds
_LATEST = 4_102_444_800_000_000  # the year 2100
_MOST = 2**53


def decoded(content: bytes) -> Any:
    """Return the JSON value of a body, also of one with NaN, Infinity or half of a character.

    Raises:
        ApiError: with status 400, when it is no JSON.
    """
    try:
        return json.decode(content)
    except ValueError:
        pass
    try:
        return json.to_plain(spell(stdlib_json.loads(content)))
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ApiError(
            400, f"the body is no JSON: {bounded(reason, 200)}", kind="bad_input"
        ) from None


def decoded_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; nothing at all is an empty one.

    Raises:
        ApiError: with status 400, when it is something else.
    """
    value: Any = decoded(content) if content.strip() else dict[str, Any]()
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", kind="bad_input")
    return cast("dict[str, Any]", value)


def text_of(value: Any, limit: int) -> str | None:
    """Return a text of at most `limit` characters that every database takes, or None."""
    if not isinstance(value, str) or not value:
        return None
    if len(value) > limit:
        value = value[: limit - 1] + "…"
    if "\x00" in value:
        value = value.replace("\x00", "\ufffd")
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def count_of(value: Any) -> int | None:
    """Return a whole number that is not negative, or None."""
    if type(value) is int:
        return value if 0 <= value <= _MOST else None
    if isinstance(value, float) and value.is_integer() and 0 <= value <= _MOST:
        return int(value)
    return None


def number_of(value: Any) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def object_of(value: Any) -> dict[str, Any] | None:
    """Return an object that has something in it, or None."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) and value else None


def moment_of(value: Any) -> int | None:
    """Return a time in microseconds since the epoch, from that or from ISO 8601, or None."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = micros(value)
        except (ValueError, OverflowError):
            return None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if _EARLIEST <= value <= _LATEST else None
