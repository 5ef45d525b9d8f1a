"""What templates yield, as a peer sees it: prompts, grades, and every way to get them wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from hud.environment import Answer, Environment
from tests.wire.harness import LIMIT, Place, Steps

Template = Callable[[], Steps]


class Shape(BaseModel):
    size: int
    colour: str = "red"


@dataclass
class Scored:
    reward: float
    content: str | None = None
    info: dict[str, Any] | None = None


def environment(template: Template, **options: Any) -> Environment:
    env = Environment("one")
    env.template(id="it", **options)(template)
    return env


def yields(prompt: Any, grade: Any) -> Environment:
    async def it() -> Steps:
        yield prompt
        yield grade

    return environment(it)


async def ends_at_once() -> Steps:
    if False:
        yield


async def raises_before() -> Steps:
    raise ValueError("no disk")
    yield


async def exits_before() -> Steps:
    sys.exit(3)
    yield


async def yields_a_set_of_objects() -> Steps:
    yield object()
    yield 1


async def yields_once() -> Steps:
    yield "p"


async def yields_three_times() -> Steps:
    yield "p"
    yield 1
    yield 2


async def raises_while_grading() -> Steps:
    yield "p"
    raise KeyError("answer")


async def exits_while_grading() -> Steps:
    yield "p"
    sys.exit()


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (ends_at_once, "without yielding a prompt"),
        (raises_before, "ValueError: no disk"),
        (exits_before, "SystemExit: 3"),
        (yields_a_set_of_objects, "not JSON"),
    ],
)
async def test_a_template_without_a_prompt_is_the_environments_fault(
    place: Place, template: Template, says: str
) -> None:
    wire = await place.connect(await place.serve(environment(template)))

    error = await wire.error("tasks.start", {"id": "it"})

    assert error["code"] == -32000
    assert error["data"]["boundary"] == "environment"
    assert "template 'it'" in error["message"]
    assert says in error["message"]
    assert (await wire.error("tasks.grade", {"answer": 1}))["message"] == "no task in progress"


@pytest.mark.parametrize(
    ("template", "boundary", "says"),
    [
        (yields_once, "environment", "without yielding a grade"),
        (yields_three_times, "environment", "third time"),
        (raises_while_grading, "grader", "KeyError: 'answer'"),
        (exits_while_grading, "grader", "SystemExit"),
    ],
)
async def test_a_template_without_one_grade_says_so_and_scores_nothing(
    place: Place, template: Template, boundary: str, says: str
) -> None:
    wire = await place.connect(await place.serve(environment(template)))
    await wire.result("tasks.start", {"id": "it"})

    error = await wire.error("tasks.grade", {"answer": 1})

    assert (error["code"], error["data"]["boundary"]) == (-32000, boundary)
    assert "template 'it'" in error["message"]
    assert says in error["message"]
    assert "result" in await wire.call("tasks.start", {"id": "it"})


@pytest.mark.parametrize(
    "grade",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        10**400,
        None,
        "1.0",
        [1.0],
        {},
        {"score": None},
        {"score": "1"},
        {"score": float("nan")},
        {"reward": 1.0},
        Scored(float("nan")),
        {"score": 1.0, "subscores": "all"},
        {"score": 1.0, "subscores": [{"name": "a"}]},
        {"score": 1.0, "subscores": [{"name": "a", "value": float("nan")}]},
        {"score": 1.0, "info": {"at": 1j}},
    ],
    ids=repr,
)
async def test_a_grade_that_is_no_finite_number_is_an_error(place: Place, grade: Any) -> None:
    wire = await place.connect(await place.serve(yields("p", grade)))
    await wire.result("tasks.start", {"id": "it"})

    error = await wire.error("tasks.grade", {"answer": 1})

    assert (error["code"], error["data"]["boundary"]) == (-32000, "grader")
    assert "template 'it'" in error["message"]


@pytest.mark.parametrize(
    ("grade", "frame"),
    [
        (1, {"score": 1.0}),
        (0.25, {"score": 0.25}),
        (True, {"score": 1.0}),
        (-2, {"score": -2.0}),
        (Decimal("0.5"), {"score": 0.5}),
        ({"score": 1, "content": "ok", "done": False}, {"score": 1.0, "content": "ok",
                                                       "done": False}),
        ({"score": 1, "info": {"loss": float("nan")}}, {"score": 1.0, "info": {"loss": None}}),
        (Scored(0.5, "half", {"a": 1}), {"score": 0.5, "content": "half", "info": {"a": 1}}),
        (
            {"score": 0.5, "subscores": [{"name": "a", "value": 1, "weight": 0.5}]},
            {"score": 0.5, "subscores": [{"name": "a", "value": 1, "weight": 0.5}]},
        ),
    ],
    ids=repr,
)  # fmt: skip
async def test_a_grade_is_a_number_an_object_with_a_reward_or_a_dict_with_a_score(
    place: Place, grade: Any, frame: dict[str, Any]
) -> None:
    wire = await place.connect(await place.serve(yields("p", grade)))
    await wire.result("tasks.start", {"id": "it"})

    assert await wire.result("tasks.grade", {"answer": 1}) == frame


MESSAGE = {"role": "user", "content": {"type": "text", "text": "hi"}}


@pytest.mark.parametrize(
    ("prompt", "frame"),
    [
        ("text", {"prompt": "text"}),
        ("half \ud800 a pair", {"prompt": "half � a pair"}),
        ([MESSAGE], {"prompt": [MESSAGE]}),
        (MESSAGE, {"prompt": [MESSAGE]}),
        ({"prompt": "p", "bindings": {"robot": {"token": "t"}}},
         {"prompt": "p", "bindings": {"robot": {"token": "t"}}}),
        ({"prompt": [MESSAGE], "extra": 1}, {"prompt": [MESSAGE], "extra": 1}),
        ({"any": "json"}, {"prompt": {"any": "json"}}),
        (Shape(size=3), {"prompt": {"size": 3, "colour": "red"}}),
    ],
    ids=["text", "surrogate", "messages", "message", "bindings", "extra", "json", "model"],
)  # fmt: skip
async def test_a_prompt_is_text_messages_or_a_frame_with_bindings(
    place: Place, prompt: Any, frame: dict[str, Any]
) -> None:
    wire = await place.connect(await place.serve(yields(prompt, 1)))

    assert await wire.result("tasks.start", {"id": "it"}) == frame


async def test_a_prompt_that_exceeds_the_limit_starts_nothing(place: Place) -> None:
    closed: list[str] = []

    async def it(size: int) -> Steps:
        try:
            yield "x" * size
            yield 1
        finally:
            closed.append("it")

    env = Environment("one")
    env.template()(it)
    wire = await place.connect(await place.serve(env))

    error = await wire.error("tasks.start", {"id": "it", "args": {"size": LIMIT}})

    assert error["code"] == -32000
    assert error["data"]["boundary"] == "environment"
    assert "exceeds the limit" in error["message"]
    assert closed == ["it"]
    assert (await wire.error("tasks.grade", {"answer": 1}))["message"] == "no task in progress"
    assert await wire.result("tasks.start", {"id": "it", "args": {"size": 2}}) == {"prompt": "xx"}


@pytest.mark.parametrize(
    ("answer", "content", "raw"),
    [
        ('{"size": 3}', "Shape(size=3, colour='red')", '{"size": 3}'),
        ({"size": 3}, "Shape(size=3, colour='red')", '{"size":3}'),
        ("three", "'three'", "three"),
        ('{"size": "many"}', '\'{"size": "many"}\'', '{"size": "many"}'),
    ],
)
async def test_an_answer_with_a_type_arrives_parsed_beside_its_raw_text(
    place: Place, answer: Any, content: str, raw: str
) -> None:
    async def it() -> Steps:
        answer: Answer[Any] = yield "p"
        yield {"score": 1, "info": {"content": repr(answer.content), "raw": answer.raw}}

    wire = await place.connect(await place.serve(environment(it, returns=Shape)))
    listed = (await wire.result("tasks.list"))["tasks"][0]
    await wire.result("tasks.start", {"id": "it"})

    frame = await wire.result("tasks.grade", {"answer": answer})

    assert frame["info"] == {"content": content, "raw": raw}
    assert listed["returns"]["required"] == ["size"]


async def test_an_answer_without_a_type_arrives_as_it_was_sent(place: Place) -> None:
    async def it() -> Steps:
        answer = yield "p"
        yield {"score": 1, "info": {"answer": answer}}

    wire = await place.connect(await place.serve(environment(it)))
    for answer in ("text", 3, None, {"a": [1, None]}):
        await wire.result("tasks.start", {"id": "it"})
        frame = await wire.result("tasks.grade", {"answer": answer})
        assert frame["info"] == {"answer": answer}


async def test_no_secret_leaves_in_an_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from hud._core import redact

    monkeypatch.setenv("BACKEND_TOKEN", "correct-horse-battery")
    redact.refresh()

    async def it() -> Steps:
        raise RuntimeError("refused: correct-horse-battery")
        yield

    wire = await place.connect(await place.serve(environment(it)))

    error = await wire.error("tasks.start", {"id": "it"})

    monkeypatch.undo()
    redact.refresh()
    assert "correct-horse-battery" not in error["message"]
    assert "refused: " in error["message"]


async def test_a_template_that_fails_after_its_grade_keeps_it(place: Place) -> None:
    async def it() -> Steps:
        yield "p"
        yield 0.5
        raise RuntimeError("while cleaning up")

    wire = await place.connect(await place.serve(environment(it)))
    await wire.result("tasks.start", {"id": "it"})

    assert await wire.result("tasks.grade", {"answer": 1}) == {"score": 0.5}
