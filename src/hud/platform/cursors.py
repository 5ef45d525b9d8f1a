"""Where a page ended, as an opaque text: what a client gives back to get the page after it."""

from __future__ import annotations

import base64
import binascii
from typing import Any, cast

from hud._core import json
from hud.platform.errors import ApiError

_LONGEST = 2_000


def encode_cursor(*values: int | str | None) -> str:
    """Return the cursor that stands for `values`, the sort key of the last row of a page."""
    return base64.urlsafe_b64encode(json.encode(values)).decode().rstrip("=")


def decode_cursor(text: str, *kinds: type) -> tuple[Any, ...]:
    """Return the values of a cursor.

    Raises:
        ApiError: with status 400, when it is none of ours.
    """
    try:
        if len(text) > _LONGEST:
            raise ValueError
        plain = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
        values: Any = json.decode(plain)
    except (ValueError, binascii.Error):
        raise _not_ours() from None
    if not isinstance(values, list) or len(cast("list[Any]", values)) != len(kinds):
        raise _not_ours()
    found = cast("list[Any]", values)
    for value, kind in zip(found, kinds, strict=True):
        if type(value) is not kind or (kind is int and not 0 <= value < 2**63):
            raise _not_ours()
    return tuple(found)


def _not_ours() -> ApiError:
    return ApiError(400, "this cursor was not made here", kind="bad_input")
