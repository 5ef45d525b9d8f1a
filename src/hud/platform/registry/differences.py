"""Which parts of a task's row differ between two of its versions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

from hud._core import json

_MOST = 100


def changed_paths(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the dotted places in which two rows differ, at most 100 of them.

    What was added or removed counts by its own place; a list counts as a whole.
    """
    return list(islice(_differing(before, after, ""), _MOST))


def _differing(before: dict[str, Any], after: dict[str, Any], where: str) -> Iterator[str]:
    for key in (*before, *(key for key in after if key not in before)):
        place = f"{where}{key}"
        if key not in before or key not in after:
            yield place
            continue
        old, new = before[key], after[key]
        if isinstance(old, dict) and isinstance(new, dict):
            inner = cast("tuple[dict[str, Any], dict[str, Any]]", (old, new))
            yield from _differing(*inner, f"{place}.")
        elif json.encode(old) != json.encode(new):
            yield place
