"""Arguments of a tool call, read as a model may have written them: a wrong one is told back.

Numbers and truth values spelled as text are taken; what else is of another type is not guessed.
"""

from __future__ import annotations

from typing import Any, cast

from hud._core.errors import bounded
from hud.agents.tools.base import ToolError


def text_of(arguments: dict[str, Any], name: str) -> str:
    """Return a required text.

    Raises:
        ToolError: when it is missing or no text.
    """
    value = optional_text(arguments, name)
    if value is None:
        raise missing(name)
    return value


def optional_text(arguments: dict[str, Any], name: str) -> str | None:
    """Return a text, or None where there is none.

    Raises:
        ToolError: when it is something else.
    """
    value = arguments.get(name)
    if value is None or isinstance(value, str):
        return value
    raise _wrong(name, "a text", value)


def optional_number(arguments: dict[str, Any], name: str) -> float | None:
    """Return a number, or None where there is none.

    Raises:
        ToolError: when it is something else, or not finite.
    """
    value = arguments.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
        if not abs(number) < 1e15:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise _wrong(name, "a number", value) from None
    return number


def optional_integer(arguments: dict[str, Any], name: str) -> int | None:
    """Return a whole number, or None where there is none.

    Raises:
        ToolError: when it is something else.
    """
    number = optional_number(arguments, name)
    if number is None:
        return None
    if number != int(number):
        raise _wrong(name, "a whole number", arguments[name])
    return int(number)


def flag_of(arguments: dict[str, Any], name: str) -> bool:
    """Return a truth value, false where there is none.

    Raises:
        ToolError: when it is something else.
    """
    value = arguments.get(name)
    if isinstance(value, str) and value.lower() in {"true", "false", ""}:
        return value.lower() == "true"
    if value is None or isinstance(value, bool):
        return bool(value)
    raise _wrong(name, "true or false", value)


def list_of(arguments: dict[str, Any], name: str) -> list[Any] | None:
    """Return a list, or None where there is none.

    Raises:
        ToolError: when it is something else.
    """
    value = arguments.get(name)
    if value is None:
        return None
    if isinstance(value, list):
        return cast("list[Any]", value)
    raise _wrong(name, "a list", value)


def span_of(arguments: dict[str, Any], name: str) -> list[int] | None:
    """Return a list of whole numbers, or None where there is none.

    Raises:
        ToolError: when it is something else.
    """
    given = list_of(arguments, name)
    if given is None:
        return None
    numbers = [optional_integer({name: number}, name) for number in given]
    return [number for number in numbers if number is not None]


def required_integer(arguments: dict[str, Any], name: str) -> int:
    """Return a required whole number.

    Raises:
        ToolError: when it is missing or something else.
    """
    number = optional_integer(arguments, name)
    if number is None:
        raise missing(name)
    return number


def missing(name: str) -> ToolError:
    """Return what the model is told when an argument is not there."""
    return ToolError(f"the argument {name!r} is missing")


def _wrong(name: str, kind: str, value: object) -> ToolError:
    return ToolError(f"the argument {name!r} must be {kind}, not {bounded(repr(value))}")
