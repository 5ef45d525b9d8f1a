"""Arguments of a call to a screen, read as a model may have written them: places, keys, ways.

Numbers, truth values and lists spelled as text are taken.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from hud._core import json
from hud._core.errors import bounded
from hud.agents.tools.base import ToolError

Arguments = Mapping[str, Any]
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(?!\d)", re.IGNORECASE)
_DIRECTIONS = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}


def text(arguments: Arguments, name: str) -> str:
    """Return a text.

    Raises:
        ToolError: when it is missing or no text.
    """
    value = arguments.get(name)
    if not isinstance(value, str):
        raise ToolError(_wanted(name, "a text", value))
    return value


def address(arguments: Arguments, name: str) -> str:
    """Return an address to go to; one without a scheme is taken for a web site's.

    Raises:
        ToolError: when it is missing or no text.
    """
    value = text(arguments, name).strip()
    if not value:
        raise ToolError(_wanted(name, "a whole address", value))
    return value if _SCHEME.match(value) else f"https://{value}"


def choice(arguments: Arguments, name: str, choices: Sequence[str]) -> str:
    """Return one of some texts.

    Raises:
        ToolError: when it is none of them.
    """
    value = arguments.get(name)
    if value not in choices:
        raise ToolError(_wanted(name, f"one of {', '.join(choices)}", value))
    return cast("str", value)


def number(
    arguments: Arguments,
    name: str,
    *,
    default: float | None = None,
    low: float = -math.inf,
    high: float = math.inf,
) -> float:
    """Return a finite number from `low` to `high`, or the default where none is given.

    Raises:
        ToolError: when it is missing without a default, or something else.
    """
    value = arguments.get(name)
    if value is None and default is not None:
        return default
    found = _finite(value)
    if found is None or not low <= found <= high:
        bounds = "" if low == -math.inf else f" from {low:g} to {high:g}"
        raise ToolError(_wanted(name, f"a number{bounds}", value))
    return found


def flag(arguments: Arguments, name: str, *, default: bool) -> bool:
    """Return true or false.

    Raises:
        ToolError: when it is something else.
    """
    value = arguments.get(name)
    if value is None:
        return default
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ToolError(_wanted(name, "true or false", value))
    return value


def numbers(arguments: Arguments, name: str, count: int) -> tuple[float, ...]:
    """Return a list of so many numbers.

    Raises:
        ToolError: when it is something else.
    """
    value = arguments.get(name)
    found = [_finite(item) for item in _items(value)]
    if len(found) != count or None in found:
        raise ToolError(_wanted(name, f"a list of {count} numbers", value))
    return cast("tuple[float, ...]", tuple(found))


def place(arguments: Arguments, name: str) -> tuple[float, float]:
    """Return `[x, y]`.

    Raises:
        ToolError: when it is something else.
    """
    x, y = numbers(arguments, name, 2)
    return x, y


def path(arguments: Arguments, name: str) -> list[tuple[float, float]]:
    """Return a list of places, each `[x, y]` or `{"x": …, "y": …}`.

    Raises:
        ToolError: when it is something else, or has fewer than two.
    """
    value = arguments.get(name)
    found: list[tuple[float, float]] = []
    for item in _items(value):
        if isinstance(item, Mapping):
            held = cast("Arguments", item)
            pair = [held.get("x"), held.get("y")]
        else:
            pair = _items(item)
        at = [_finite(each) for each in pair]
        if len(at) != 2 or at[0] is None or at[1] is None:
            raise ToolError(_wanted(name, "a list of places", value))
        found.append((at[0], at[1]))
    if len(found) < 2:
        raise ToolError(_wanted(name, "a list of two places or more", value))
    return found


def keys(arguments: Arguments, name: str) -> str | list[str] | None:
    """Return names of keys: a text, a list of texts, or None where there are none.

    Raises:
        ToolError: when it is something else.
    """
    value = arguments.get(name)
    if value is None or isinstance(value, str):
        return value or None
    names = _items(value)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in names):
        raise ToolError(_wanted(name, "names of keys", value))
    return cast("list[str]", names) or None


def direction(arguments: Arguments, name: str) -> tuple[int, int]:
    """Return what up, down, left or right is as steps to the right and down.

    Raises:
        ToolError: when it is something else.
    """
    return _DIRECTIONS[choice(arguments, name, tuple(_DIRECTIONS))]


def _items(value: Any) -> list[Any]:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = json.decode(value)
    return [*cast("Sequence[Any]", value)] if isinstance(value, list | tuple) else []


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (OverflowError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _wanted(name: str, what: str, value: Any) -> str:
    given = "it is missing" if value is None else f"not {bounded(value)}"
    return (
        f"{name!r} must be {what}; {given}"
        if value is None
        else f"{name!r} must be {what}, {given}"
    )
