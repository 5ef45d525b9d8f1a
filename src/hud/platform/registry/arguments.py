"""Whether a task's arguments fit the JSON schema that its environment gave for them.

A schema comes from whoever built the environment, so it may be made to cost: what can take long
(patterns, uniqueness) is left to the environment itself, and the rest has a budget of steps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hud._core import json
from hud._core.errors import bounded

if TYPE_CHECKING:
    from jsonschema import ValidationError

logger = logging.getLogger(__name__)

STEPS_OF_AN_UPLOAD = 1_000_000
_STEPS_OF_A_TASK = 20_000
_DEEPEST = 100
_DROPPED = frozenset(
    # The last would choose another validator than the one that counts.
    ("pattern", "patternProperties", "propertyNames", "uniqueItems", "format", "$schema")
)
# What is additional depends on the patterns that are left out.
_WITH_PATTERNS = frozenset(("additionalProperties", "unevaluatedProperties"))
_BY_NAME = frozenset(("properties", "$defs", "definitions", "dependentSchemas"))
_DATA = frozenset(("const", "enum", "default", "examples"))


@dataclass(slots=True)
class Effort:
    """How many more steps checking may take: one keyword of a schema at one place is a step."""

    steps: int = STEPS_OF_AN_UPLOAD


class _TooMuch(Exception):
    """The steps are used up."""


class ArgumentCheck:
    """The arguments that one task of an environment takes. Used by one thread at a time."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._left = self._depth = 0
        self._is_usable = True
        known: dict[str, Any] = _jsonschema().Draft202012Validator.VALIDATORS
        checks = {keyword: self._counted(check) for keyword, check in known.items()}
        try:
            kind = _jsonschema().validators.create(meta_schema={}, validators=checks)
            self._validator = kind(_tamed(dict(schema)), registry=_empty_registry())
        except RecursionError:
            self._is_usable = False

    def problem(self, args: Mapping[str, Any], effort: Effort) -> str | None:
        """Return what is wrong with `args` as half a sentence, None when they fit.

        An environment also takes an argument as the JSON text of its value, and so does this. A
        schema that makes no sense, or costs more than `effort` has left, lets everything through.
        """
        if not self._is_usable or effort.steps <= 0:
            return None
        # A message quotes what it is about, so a step costs more the longer the arguments are.
        per_step = 1 + len(json.encode(args)) // 1024
        self._depth = 0
        self._left = given = min(effort.steps, _STEPS_OF_A_TASK) // per_step
        try:
            found = self._first_problem(args)
            if found is not None and (read := _read_texts(args)) != args:
                found = self._first_problem(read) and found
        except _TooMuch:
            return None
        except Exception as error:
            # Whatever the library says about what is no schema after all.
            logger.debug("a schema of arguments cannot be used: %s", type(error).__name__)
            self._is_usable = False
            return None
        finally:
            effort.steps -= (given - self._left) * per_step
        return None if found is None else _said(found)

    def _first_problem(self, args: object) -> ValidationError | None:
        return _jsonschema().exceptions.best_match(self._validator.iter_errors(args))

    def _counted(self, check: Callable[..., Any]) -> Callable[..., Any]:
        def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            self._left -= 1
            self._depth += 1
            try:
                # The library panics where Python's own limit is met.
                if self._left < 0 or self._depth > _DEEPEST:
                    raise _TooMuch
                yield from check(validator, value, instance, schema) or ()
            finally:
                self._depth -= 1

        return counted


def _jsonschema() -> Any:
    import jsonschema

    return jsonschema


def _empty_registry() -> Any:
    """Return a registry that knows no other schema, and so never fetches one."""
    from referencing import Registry

    registry: Any = Registry
    return registry()


def _tamed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without the keywords that can take long."""
    tamed: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _DROPPED or (keyword in _WITH_PATTERNS and "patternProperties" in schema):
            continue
        tamed[keyword] = value if keyword in _DATA else _tamed_below(keyword, value)
    return tamed


def _tamed_below(keyword: str, value: Any) -> Any:
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value)
        if keyword not in _BY_NAME:
            return _tamed(inner)
        return {name: _tamed_below("", schema) for name, schema in inner.items()}
    if isinstance(value, list):
        return [_tamed_below("", item) for item in cast("list[Any]", value)]
    return value


def _read_texts(args: Mapping[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in args.items():
        read[name] = value
        if isinstance(value, str):
            try:
                read[name] = json.decode(value)
            except ValueError:
                continue
    return read


def _said(problem: ValidationError) -> str:
    where = ".".join(str(part) for part in problem.absolute_path)
    said = bounded(str(problem.message), 160)
    return f"args.{bounded(where, 80)}: {said}" if where else f"args: {said}"
