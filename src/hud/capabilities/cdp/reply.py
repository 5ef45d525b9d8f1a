"""Read parts of a reply or an event, whose shape is only what the browser chose to send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def record(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the object under `key`, or an empty one."""
    value = holder.get(key)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def records(holder: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the objects listed under `key`; whatever else is listed there is left out."""
    return [cast("dict[str, Any]", item) for item in items(holder, key) if isinstance(item, dict)]


def items(holder: Mapping[str, Any], key: str) -> list[Any]:
    """Return the list under `key`, or an empty one."""
    value = holder.get(key)
    return cast("list[Any]", value) if isinstance(value, list) else []
