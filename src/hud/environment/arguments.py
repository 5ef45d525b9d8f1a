"""Template arguments: their JSON schema, and coercing what arrives to the annotations.

Also the annotated types that hint to a form how an argument is meant.
"""

from __future__ import annotations

import contextlib
import inspect
import typing
from collections.abc import Callable, Mapping
from functools import cache, cached_property, partial
from typing import Annotated, Any, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from hud._core import json
from hud._core.errors import InputError, bounded

T = TypeVar("T")

PromptArg = Annotated[str, Field(json_schema_extra={"x-hud-hint": "prompt"})]
DataFileArg = Annotated[T, Field(json_schema_extra={"x-hud-hint": "data-file"})]
DataFilesArg = Annotated[list[T], Field(json_schema_extra={"x-hud-hint": "data-files"})]
GradingArg = Annotated[list[T], Field(json_schema_extra={"x-hud-hint": "grading"})]


class DataFileRef(BaseModel):
    """A file kept elsewhere, referred to by id; `path` is where it was placed, if it was."""

    model_config = ConfigDict(extra="forbid")

    file_id: str
    path: str | None = None


class Answer(BaseModel, Generic[T]):
    """What a template with `returns=T` receives: the parsed answer beside its raw text.

    `content` is the raw text itself when it could not be parsed into T.
    """

    content: T
    raw: str = ""


def parse_answer(returns: Any, answer: Any) -> Answer[Any]:
    """Read an answer as `returns`; what cannot be parsed keeps its raw text as the content."""
    raw = answer if isinstance(answer, str) else json.encode(answer).decode()
    if returns is str:
        return Answer[Any](content=raw, raw=raw)
    adapter: TypeAdapter[Any] = TypeAdapter(returns)
    try:
        content = (
            adapter.validate_json(answer)
            if isinstance(answer, str)
            else adapter.validate_python(answer)
        )
    except ValidationError:
        try:
            content = adapter.validate_python(answer)
        except ValidationError:
            content = raw
    return Answer[Any](content=content, raw=raw)


def json_schema(annotation: Any) -> dict[str, Any]:
    """Return the JSON schema of any type pydantic understands."""
    return TypeAdapter(annotation).json_schema()


# Shared by all templates: a source executed afresh for every rollout would build them each time.
_SIMPLE: dict[type, Callable[[], TypeAdapter[Any]]] = {
    kind: cache(partial(TypeAdapter, kind)) for kind in (str, int, float, bool)
}


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    """Return a validator; a type that pydantic does not know takes any value."""
    simple = _SIMPLE.get(annotation) if isinstance(annotation, type) else None
    if simple is not None:
        return simple()
    try:
        return TypeAdapter(annotation)
    except PydanticSchemaGenerationError:
        return TypeAdapter(Any)


def _shapes(
    adapters: Mapping[str, TypeAdapter[Any]],
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return a JSON schema per name, and the definitions they share.

    What has no JSON schema (a callable) is described as anything.
    """
    described = {name: adapter for name, adapter in adapters.items() if _is_describable(adapter)}
    found, shared = TypeAdapter.json_schemas(
        [(name, "validation", adapter) for name, adapter in described.items()],
        ref_template="#/$defs/{model}",
    )
    shapes = {name: dict(shape) for (name, _), shape in found.items()}
    definitions: dict[str, Any] = shared.get("$defs", {})
    return {name: shapes.get(name, {}) for name in adapters}, definitions


def _is_describable(adapter: TypeAdapter[Any]) -> bool:
    try:
        adapter.json_schema()
    except PydanticInvalidForJsonSchema:
        return False
    return True


class Arguments:
    """The parameters of one template function.

    Built lazily: importing a source with a thousand templates costs nothing until one is used.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self.signature = inspect.signature(fn)
        for parameter in self.signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                raise TypeError(f"{fn.__qualname__}: *{parameter.name} cannot be a task argument")
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                raise TypeError(
                    f"{fn.__qualname__}: {parameter.name} is positional-only, but task arguments "
                    "have names"
                )

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self._fn, include_extras=True)
        except NameError as error:
            raise TypeError(
                f"{self._fn.__qualname__}: annotation cannot be resolved: {error}"
            ) from error

    @cached_property
    def open(self) -> bool:
        """Whether the function takes `**kwargs`, so that unknown names are let through."""
        kinds = (parameter.kind for parameter in self.signature.parameters.values())
        return inspect.Parameter.VAR_KEYWORD in kinds

    @cached_property
    def _named(self) -> dict[str, inspect.Parameter]:
        return {
            name: parameter
            for name, parameter in self.signature.parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        }

    @cached_property
    def _adapters(self) -> dict[str, TypeAdapter[Any]]:
        return {name: _adapter(self._hints.get(name, Any)) for name in self._named}

    def schema(self) -> dict[str, Any]:
        """Return the closed JSON schema of the arguments (open with `**kwargs`)."""
        properties: dict[str, Any] = {}
        shapes, definitions = _shapes(self._adapters)
        required: list[str] = []
        for name, parameter in self._named.items():
            shape = {"title": name.replace("_", " ").title(), **shapes[name]}
            if parameter.default is inspect.Parameter.empty:
                required.append(name)
            else:
                with contextlib.suppress(TypeError, ValueError):
                    shape["default"] = json.to_plain(parameter.default)
            properties[name] = shape
        schema: dict[str, Any] = {
            "type": "object",
            "properties": properties,
            "additionalProperties": self.open,
        }
        if required:
            schema["required"] = required
        if definitions:
            schema["$defs"] = definitions
        return schema

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Name the arguments of a Python call; defaults are left to the template.

        Raises:
            TypeError: when they do not fit the signature.
        """
        if not args and kwargs.keys() <= self._named.keys():
            return dict(kwargs)
        bound = self.signature.bind_partial(*args, **kwargs)
        named: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                named.update(cast("dict[str, Any]", value))
            else:
                named[name] = value
        return named

    def coerce(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Validate a row's arguments against the annotations; return all of them, defaults too.

        A JSON string that parses into the annotated type is accepted for it.

        Raises:
            InputError: for an unknown, missing or ill-typed argument.
        """
        unknown = [name for name in args if name not in self._named]
        if unknown and not self.open:
            known = ", ".join(self._named) or "none"
            raise InputError(
                f"unknown argument {bounded(unknown[0])!r}", hint=f"known arguments: {known}"
            )
        given: dict[str, Any] = {name: args[name] for name in unknown}
        for name, parameter in self._named.items():
            if name in args:
                given[name] = self._coerce_one(name, args[name])
            elif parameter.default is inspect.Parameter.empty:
                raise InputError(f"missing argument {name!r}")
            else:
                given[name] = parameter.default
        return given

    def _coerce_one(self, name: str, value: Any) -> Any:
        if name not in self._hints:
            return value
        adapter = self._adapters[name]
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            if isinstance(value, str):
                try:
                    return adapter.validate_json(value)
                except ValidationError:
                    pass
            problem = error.errors(include_url=False)[0]["msg"]
            raise InputError(f"argument {name!r} = {bounded(value)}: {problem}") from error
