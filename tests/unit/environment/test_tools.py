"""Functions as MCP tools: what models see of them, and what they get back."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from contextvars import ContextVar
from typing import Any

import mcp.types as wire
import pytest
from pydantic import BaseModel

from hud._core.errors import CapabilityFault, InputError
from hud.environment import tools_results
from hud.environment.tools import ToolServer
from hud.environment.tools_function import ToolFunction
from hud.environment.tools_results import result_of
from hud.trace.content import ImageContent, MCPToolResult, TextContent
from tests.needs import need_module
from tests.wire.harness import DEADLINE_S, until

PNG = b"\x89PNG\r\n\x1a\n rest"


class Point(BaseModel):
    x: int
    y: float = 0.5


@dataclasses.dataclass
class Size:
    width: int


def text_of(result: wire.CallToolResult) -> str:
    return "".join(block.text for block in result.content if isinstance(block, wire.TextContent))


async def called(fn: Any, arguments: dict[str, Any] | None = None) -> wire.CallToolResult:
    function = ToolFunction(fn, name="it")
    async with asyncio.timeout(DEADLINE_S):
        return await function.call(arguments or {}, asyncio.Semaphore(4))


# What models see.


def test_a_function_is_shown_by_its_name_docstring_and_annotations() -> None:
    def look_up(city: str, days: int = 3, spot: Point | None = None) -> str:
        """Look the weather up.

        In a book.
        """
        return city

    shown = ToolFunction(look_up).definition()
    assert shown.name == "look_up"
    assert shown.description == "Look the weather up.\n\nIn a book."
    assert shown.input_schema["required"] == ["city"]
    assert shown.input_schema["properties"]["days"]["default"] == 3
    assert shown.input_schema["properties"]["days"]["type"] == "integer"
    assert "Point" in shown.input_schema["$defs"]
    named = ToolFunction(look_up, name="weather", description="Ask.").definition()
    assert (named.name, named.description) == ("weather", "Ask.")


async def test_methods_and_callable_objects_are_tools_too() -> None:
    class Counter:
        def __init__(self) -> None:
            self.total = 0

        def more(self, by: int) -> int:
            self.total += by
            return self.total

        async def __call__(self, by: int) -> int:
            return self.more(by)

    counter = Counter()
    assert list(ToolFunction(counter.more).definition().input_schema["properties"]) == ["by"]
    assert text_of(await called(counter.more, {"by": 2})) == "2"
    assert text_of(await called(counter, {"by": 2})) == "4"


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


def many(*values: int) -> None: ...


def by_place(value: int, /) -> None: ...


@pytest.mark.parametrize("fn", [Point, generator, async_generator, many, by_place, 7])
def test_what_cannot_be_a_tool_is_refused_where_it_is_declared(fn: Any) -> None:
    with pytest.raises(TypeError):
        ToolServer().add(fn, name="it")


@pytest.mark.parametrize("name", ["two words", "ö", "x" * 65, "<lambda>", "a.b", "a\n"])
def test_a_name_that_models_cannot_call_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name for a tool"):
        ToolServer().add(lambda: 1, name=name)


def test_two_tools_of_one_name_are_refused() -> None:
    server = ToolServer()

    def look() -> None: ...

    assert server.add(look) is look
    with pytest.raises(ValueError, match="two tools 'look'"):
        server.add(look)
    server.remove("look")
    server.add(look)
    assert server.tools == ["look"]


async def test_an_annotation_that_means_nothing_is_found_when_the_server_starts() -> None:
    server = ToolServer()

    def look(at: Unheard) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    server.add(look)  # pyright: ignore[reportUnknownArgumentType]
    with pytest.raises(CapabilityFault, match=r"look: .*Unheard"):
        await server.start()
    await server.stop()


# What models get back.


@pytest.mark.parametrize(
    ("value", "text", "structure"),
    [
        ("plain", "plain", None),
        (None, "", None),
        (7, "7", None),
        (True, "true", None),
        (float("nan"), "null", None),
        ([1, "two"], '[1,"two"]', None),
        ({"a": float("inf"), 1: b"x"}, '{"a":null,"1":"x"}', {"a": None, "1": "x"}),
        (Point(x=1), '{"x":1,"y":0.5}', {"x": 1, "y": 0.5}),
        (Size(3), '{"width":3}', {"width": 3}),
        ("half \ud83d", "half ?", None),
        ((), "[]", None),
    ],
)
def test_a_value_becomes_text_and_an_object_structure_too(
    value: Any, text: str, structure: Any
) -> None:
    result = result_of("it", value)
    assert (text_of(result), result.structured_content) == (text, structure)
    assert not result.is_error


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0 rest", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"GIF89a rest", "image/gif"),
    ],
)
def test_bytes_of_an_image_become_an_image(data: bytes, mime: str) -> None:
    (block,) = result_of("it", data).content
    assert isinstance(block, wire.ImageContent)
    assert block.mime_type == mime


def test_other_bytes_become_a_sound_or_a_file() -> None:
    (sound,) = result_of("it", bytearray(b"RIFF\x00\x00\x00\x00WAVEfmt ")).content
    assert isinstance(sound, wire.AudioContent)
    (file,) = result_of("it", memoryview(b"\x00\x01")).content
    assert isinstance(file, wire.EmbeddedResource)
    assert isinstance(file.resource, wire.BlobResourceContents)
    assert file.resource.blob == "AAE="


def test_a_pillow_image_becomes_a_png() -> None:
    image = need_module("PIL.Image").new("RGB", (2, 2), "red")
    (block,) = result_of("it", image).content
    assert isinstance(block, wire.ImageContent)
    assert block.mime_type == "image/png"
    refused = result_of("it", need_module("PIL.Image").new("F", (2, 2)))
    assert refused.is_error
    assert "cannot be sent" in text_of(refused)


def test_a_list_with_an_image_is_unrolled_and_content_passes_through() -> None:
    ours = ImageContent(data="AA==", mimeType="image/png")
    theirs = wire.TextContent(type="text", text="theirs")
    blocks = result_of("it", ["one", PNG, Point(x=1), ours, theirs]).content
    assert [block.type for block in blocks] == ["text", "image", "text", "image", "text"]
    whole = result_of("it", MCPToolResult(content=[TextContent(text="no")], isError=True))
    assert whole.is_error
    assert text_of(whole) == "no"
    assert result_of("it", wire.CallToolResult(content=[theirs])).content == [theirs]


def test_a_result_larger_than_allowed_is_an_error_that_says_its_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tools_results, "MAX_RESULT_BYTES", 1 << 20)
    for value in ("ü" * (1 << 20), {"a": "x" * (1 << 20)}, PNG * (1 << 20)):
        result = result_of("it", value)
        assert result.is_error
        assert "more than the 1 MiB allowed" in text_of(result)


def test_a_value_that_refers_to_itself_is_an_error() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert result_of("it", loop).is_error


async def test_an_exception_becomes_its_message_without_traceback_or_secret() -> None:
    def fails() -> None:
        raise ValueError("the key is sk-abcdefghijklmnopqrstuvwxyz")

    result = await called(fails)
    assert result.is_error
    assert text_of(result) == "ValueError: the key is [redacted]"

    async def hints() -> None:
        raise InputError("no such file", hint="list the folder")

    assert text_of(await called(hints)) == "no such file (list the folder)"

    def long() -> None:
        raise RuntimeError("x" * 100_000)

    assert len(text_of(await called(long))) <= 4_000


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), StopIteration(1)])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_would_end_a_program_ends_only_the_call(error: BaseException, kind: str) -> None:
    def sync() -> None:
        raise error

    async def not_sync() -> None:
        raise error

    result = await called(sync if kind == "sync" else not_sync)
    assert result.is_error
    assert text_of(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "missing argument 'x'"),
        ({"x": "one"}, "argument 'x' = one: "),
        ({"x": 1, "z": 1}, "unknown argument 'z' (known arguments: x, at)"),
        ({"x": 1, "at": {"y": 1}}, "argument 'at'"),
    ],
)
async def test_wrong_arguments_are_a_result_that_says_what_is_wrong(
    arguments: dict[str, Any], message: str
) -> None:
    def place(x: int, at: Point | None = None) -> None: ...

    result = await called(place, arguments)
    assert result.is_error
    assert text_of(result).startswith(message)


async def test_arguments_reach_the_function_as_annotated() -> None:
    def place(x: int, at: Point) -> str:
        assert isinstance(at, Point)
        return f"{x + 1} {at.x}"

    assert text_of(await called(place, {"x": "1", "at": {"x": 2}})) == "2 2"
    assert text_of(await called(place, {"x": 1, "at": '{"x": 2}'})) == "2 2"


async def test_a_sync_function_runs_in_a_thread_under_the_context_of_its_call() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    go = threading.Event()

    def waits() -> str:
        assert threading.current_thread() is not threading.main_thread()
        assert go.wait(DEADLINE_S)
        return variable.get()

    variable.set("set")
    call = asyncio.create_task(called(waits))
    await asyncio.sleep(0)
    go.set()  # the loop was free to do this while the function waited
    assert text_of(await call) == "set"


async def test_a_sync_function_that_was_left_behind_counts_until_it_ends() -> None:
    go, threads = threading.Event(), asyncio.Semaphore(1)
    function = ToolFunction(lambda: go.wait(DEADLINE_S), name="it")
    abandoned = asyncio.create_task(function.call({}, threads))
    await until(threads.locked)
    abandoned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    assert threads.locked()
    go.set()
    async with asyncio.timeout(DEADLINE_S):
        assert text_of(await function.call({}, threads)) == "true"


async def test_a_sync_function_that_returns_a_coroutine_is_told_so() -> None:
    async def inner() -> None: ...

    result = await called(lambda: inner())  # noqa: PLW0108 -- that is the mistake

    assert result.is_error
    assert "async def" in text_of(result)
