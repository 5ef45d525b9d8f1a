"""Turn a grader's keyword arguments into small, plain JSON for the record.

Objects without a plain form are named by their type and never asked for their `repr`, which may be
large, secret or fail. Redaction belongs to the sinks.
"""

from __future__ import annotations

import datetime
import decimal
import math
import numbers
import uuid
from collections.abc import Iterable, Mapping, Set
from itertools import islice
from pathlib import PurePath
from typing import Any, cast

from pydantic import BaseModel

_MAX_TEXT = 4_000
_MAX_ITEMS = 100
_MAX_DEPTH = 6
_MAX_VALUES = 2_000
_MAX_INTEGER = 2**63

_SHOWN_AS_TEXT = (PurePath, decimal.Decimal, uuid.UUID, datetime.date, datetime.time)


def recorded(value: object) -> Any:
    """Return a plain JSON value that shows `value` within fixed limits of size and depth."""
    return _Recording().show(value, depth=0)


class _Recording:
    """One walk over a value, with what is left of its budget."""

    def __init__(self) -> None:
        self._values_left = _MAX_VALUES

    def show(self, value: object, depth: int) -> Any:
        self._values_left -= 1
        match value:
            case None | bool():
                return value
            case str():
                return _cut(value)
            case int():
                return int(value) if abs(value) < _MAX_INTEGER else _type_of(value)
            case numbers.Real():
                return _number(value)
            case _ if isinstance(value, _SHOWN_AS_TEXT):
                return _cut(str(value))
            case _ if depth >= _MAX_DEPTH or self._values_left <= 0:
                return _type_of(value)
            case BaseModel():
                return self._mapping(dict(value), depth)
            case Mapping():
                return self._mapping(cast("Mapping[object, object]", value), depth)
            case list() | tuple() | Set():
                return self._items(cast("list[object]", value), depth)
            case _:
                return _type_of(value)

    def _items(self, value: list[object], depth: int) -> list[Any]:
        shown = [self.show(item, depth + 1) for item in self._affordable(value)]
        return shown if len(shown) == len(value) else [*shown, _more(len(value) - len(shown))]

    def _mapping(self, value: Mapping[Any, object], depth: int) -> dict[str, Any]:
        shown = {
            _cut(key) if isinstance(key, str) else str(self.show(key, _MAX_DEPTH)): self.show(
                value[key], depth + 1
            )
            for key in self._affordable(value)
        }
        left = len(value) - len(shown)
        return {**shown, "…": _more(left)} if left else shown

    def _affordable(self, values: Iterable[Any]) -> Iterable[Any]:
        for value in islice(values, _MAX_ITEMS):
            if self._values_left <= 0:
                return
            yield value


def _more(left: int) -> str:
    return f"… {left} more"


def _cut(text: str) -> str:
    shown = text[:_MAX_TEXT].encode("utf-8", "replace").decode("utf-8")
    return shown if len(text) <= _MAX_TEXT else f"{shown}… {len(text) - _MAX_TEXT} more characters"


def _number(value: numbers.Real) -> float | str:
    try:
        number = float(value)
    except OverflowError:
        return _type_of(value)
    return number if math.isfinite(number) else str(number)


def _type_of(value: object) -> str:
    return f"<{type(value).__qualname__}>"
