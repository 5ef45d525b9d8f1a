"""Template arguments: what arrives is made into what the annotations say, or refused by name."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from hud._core.errors import InputError
from hud.environment import DataFileArg, DataFileRef, Environment, GradingArg, PromptArg
from hud.environment.arguments import Arguments


class Colour(enum.Enum):
    RED = "red"


class Point(BaseModel):
    x: int
    y: int = 0


@dataclass
class Box:
    at: Point


class Opaque:
    """Nothing pydantic knows."""


def coerced(annotation: Any, value: Any) -> Any:
    def fn(value: Any) -> None: ...

    fn.__annotations__["value"] = annotation
    return Arguments(fn).coerce({"value": value})["value"]


@pytest.mark.parametrize(
    ("annotation", "given", "wanted"),
    [
        (int, 3, 3),
        (int, "3", 3),
        (float, "2.5", 2.5),
        (bool, "true", True),
        (str, "3", "3"),
        (str, "[1]", "[1]"),
        (list[int], [1, "2"], [1, 2]),
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (int | None, "null", None),
        (Colour, "red", Colour.RED),
        (Literal["a", "b"], "b", "b"),
        (Point, {"x": 1}, Point(x=1)),
        (Point, '{"x": 1, "y": 2}', Point(x=1, y=2)),
        (Box, {"at": {"x": 1}}, Box(Point(x=1))),
        (list[Point], '[{"x": 1}]', [Point(x=1)]),
        (Any, '{"x": 1}', '{"x": 1}'),
        (Opaque, "as it came", "as it came"),
        (PromptArg, "p", "p"),
        (DataFileArg[DataFileRef], {"file_id": "f"}, DataFileRef(file_id="f")),
    ],
)
def test_a_value_becomes_what_the_annotation_says(annotation: Any, given: Any, wanted: Any) -> None:
    assert coerced(annotation, given) == wanted


@pytest.mark.parametrize(
    ("annotation", "given"),
    [
        (int, "many"),
        (int, 1.5),
        (int, None),
        (list[int], "1, 2"),
        (Point, "{'x': 1}"),
        (Point, {"y": 1}),
        (str, 3),
        (Literal["a"], "b"),
        (Annotated[int, Field(ge=1)], 0),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(annotation: Any, given: Any) -> None:
    with pytest.raises(InputError, match=r"argument 'value' = .*: .+"):
        coerced(annotation, given)


def test_a_long_value_is_quoted_in_part() -> None:
    with pytest.raises(InputError) as caught:
        coerced(int, "x" * 10_000)
    assert len(caught.value.message) < 400


def test_missing_and_unknown_names_are_told_apart() -> None:
    def fn(a: int, b: int = 2) -> None: ...

    arguments = Arguments(fn)
    assert arguments.coerce({"a": 1}) == {"a": 1, "b": 2}
    with pytest.raises(InputError, match="missing argument 'a'"):
        arguments.coerce({"b": 1})
    with pytest.raises(InputError, match="unknown argument 'c'") as caught:
        arguments.coerce({"a": 1, "c": 1})
    assert caught.value.hint == "known arguments: a, b"


def test_open_functions_take_any_name() -> None:
    def fn(a: int, **more: Any) -> None: ...

    arguments = Arguments(fn)
    assert arguments.coerce({"a": "1", "z": "2"}) == {"a": 1, "z": "2"}
    assert arguments.schema()["additionalProperties"] is True
    assert arguments.bind((1,), {"z": 2}) == {"a": 1, "z": 2}


def test_parameters_without_a_name_are_refused_when_declared() -> None:
    def positional(a: int, /) -> None: ...
    def starred(*a: int) -> None: ...

    for fn in (positional, starred):
        with pytest.raises(TypeError, match="argument"):
            Arguments(fn)


def test_an_annotation_that_means_nothing_is_named() -> None:
    def fn(a: Any) -> None: ...

    fn.__annotations__["a"] = "Nowhere"
    with pytest.raises(TypeError, match=r"fn: annotation cannot be resolved: .*Nowhere"):
        Arguments(fn).schema()


def test_the_schema_is_closed_and_names_what_is_required() -> None:
    def fn(first_name: str, at: Point, old: Point | None = None, size: int = 3) -> None: ...

    schema = Arguments(fn).schema()

    assert schema["required"] == ["first_name", "at"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["first_name"] == {"title": "First Name", "type": "string"}
    assert schema["properties"]["size"] == {"title": "Size", "type": "integer", "default": 3}
    assert schema["properties"]["at"]["$ref"] == "#/$defs/Point"
    assert list(schema["$defs"]) == ["Point"]


def test_two_types_of_one_name_keep_their_own_definitions() -> None:
    def other() -> type[BaseModel]:
        class Point(BaseModel):
            z: str

        return Point

    def fn(a: Any, b: Any) -> None: ...

    fn.__annotations__.update(a=Point, b=other())
    schema = Arguments(fn).schema()

    names = [schema["properties"][name]["$ref"].removeprefix("#/$defs/") for name in "ab"]
    assert [sorted(schema["$defs"][name]["properties"]) for name in names] == [["x", "y"], ["z"]]


def test_what_has_no_schema_or_no_json_form_is_left_open() -> None:
    def fn(a: Opaque, call: Callable[[], int] = len, b: Any = Opaque()) -> None: ...  # type: ignore[assignment]  # noqa: B008

    properties = Arguments(fn).schema()["properties"]

    assert properties == {"a": {"title": "A"}, "call": {"title": "Call"}, "b": {"title": "B"}}


def test_hints_for_forms_are_in_the_schema() -> None:
    def fn(p: PromptArg, f: DataFileArg[DataFileRef], g: GradingArg[str]) -> None: ...

    properties = Arguments(fn).schema()["properties"]

    assert [properties[name]["x-hud-hint"] for name in "pfg"] == ["prompt", "data-file", "grading"]


def test_a_call_of_a_template_names_its_arguments() -> None:
    env = Environment("e")

    @env.template()
    async def it(a: int, b: str = "x", *, c: float = 1.0) -> AsyncGenerator[Any, Any]:
        yield a, b, c

    assert it(1, c=2.0).args == {"a": 1, "c": 2.0}
    assert it(1, "y").args == {"a": 1, "b": "y"}
    with pytest.raises(TypeError, match="unexpected keyword argument 'd'"):
        it(1, d=3)  # type: ignore[call-arg]
