"""`hud eval` when the model's API misbehaves, or the model or a tool does: what is said, and how.

What broke is no zero: it has no grade, an outcome, and one sentence. What the model did is graded.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Awaitable
from pathlib import Path

import pytest

from hud.testing.model_server import (
    ApiError,
    Call,
    HangUp,
    ModelServer,
    Question,
    RawReply,
    Reply,
    Rule,
    Say,
    letter_count,
)
from tests.e2e.harness.served import AGENTS, KEY, KEYS, in_thread, replies, variables
from tests.e2e.hud_command import Result, Shell
from tests.needs import need_module

TASKS = """
import asyncio
from pathlib import Path

from hud import Environment

env = Environment("letters-and-tools")
ordered = []


@env.template()
async def count_letter(word: str):
    answer = yield f"How many 'r's are in '{word}'? Reply with the number."
    yield float(answer == str(word.count("r")))


@env.template()
async def use(tool: str):
    ordered.clear()
    answer = yield f"Call {tool}, then say what came of it."
    yield float(answer == "done" and (tool != "order" or ordered == ["bread"]))


@env.tool
async def order(item: str) -> str:
    ordered.append(item)
    return f"ordered {item}"


@env.tool
async def sleep_for_ever() -> str:
    await asyncio.Event().wait()


@env.tool
def screenshot() -> bytes:
    return Path(__file__).with_name("screen.png").read_bytes()


letters = [count_letter(word=word) for word in ("strawberry", "raspberry", "blueberry")]
used = [use(tool=tool) for tool in ("order", "sleep_for_ever", "screenshot")]
for task in used:
    task.slug = task.args["tool"]
tasks = [*letters, *used]
"""
SOON = {"Retry-After-Ms": "20", "Retry-After": "0"}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    for name in [name for name in shell.env if name.endswith(("_API_KEY", "_BASE_URL"))]:
        del shell.env[name]
    shell.write("tasks.py", TASKS)
    return shell


def evaluate(
    shell: Shell,
    server: ModelServer,
    agent: str,
    *config: str,
    only: str = "count_letter",
    retries: int = 0,
) -> Result:
    """Run an agent over the tasks about letters, or over others."""
    shell.env |= variables(server)
    settings = [part for pair in config for part in ("--config", pair)]
    command = ["eval", "tasks.py", *AGENTS[agent], *settings, "--task-ids", only]
    ran = shell(*command, "--retries", str(retries), "--json")
    assert KEY not in ran.out + ran.err
    return ran


def assert_graded(ran: Result, mean: float = 1.0) -> None:
    assert ran.code == 0, ran.err
    assert ran.data["ungraded"] == {} and ran.data["mean"] == mean, ran.data


def assert_model_broke(ran: Result, says: str) -> None:
    """See that nothing was graded, and that why is said in one sentence, once."""
    assert ran.code == 3, ran.err
    data = ran.data
    assert (data["ungraded"], data["graded"], data["mean"]) == ({"model": 3}, 0, None)
    assert (data["lower_bound"], data["upper_bound"], data["status"]) == (0.0, 1.0, "completed")
    assert all(run["reward"] is None and run["outcome"] == "model" for run in data["runs"])
    (line,) = [line for line in ran.err.splitlines() if " × model: " in line]
    assert line.startswith("3 × model: "), line
    assert re.search(says, line), line
    errors = {run["error"] for run in data["runs"]}
    assert all(re.search(says, error) and "\n" not in error for error in errors), errors


@pytest.mark.parametrize(
    ("agent", "variable"),
    [
        ("openai_compatible", "OPENAI_API_KEY"),
        ("claude", "ANTHROPIC_API_KEY"),
        ("openai", "OPENAI_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
    ],
)
def test_without_a_key_nothing_is_run_and_the_variable_is_named(
    shell: Shell, agent: str, variable: str
) -> None:
    ran = shell("eval", "tasks.py", *AGENTS[agent], "--all", "--json")
    assert (ran.code, ran.out) == (2, "")
    assert f"{variable}" in ran.err and "is not set" in ran.err
    assert f"hud set {variable}=" in ran.err
    assert not shell.home.exists()
    assert not any(shell.env.get(name) for name in KEYS)


@pytest.mark.parametrize("agent", ["openai_compatible", "gemini"])
def test_a_model_there_is_not_is_named(shell: Shell, agent: str) -> None:
    """And it is asked for once by each run: no further attempt would find it."""

    def rule(question: Question) -> Reply:
        return ApiError(404, f"The model `{question.model}` does not exist", "model_not_found")

    with in_thread(rule) as server:
        ran = evaluate(shell, server, agent, retries=2)
    assert_model_broke(ran, r"status 404 for model '[\w.-]+': The model `[\w.-]+` does not exist")
    assert len(server.requests) == 3


@pytest.mark.parametrize("agent", ["claude", "openai"])
def test_a_key_that_is_refused_is_said_without_the_key(shell: Shell, agent: str) -> None:
    with in_thread(letter_count, api_key="another") as server:
        ran = evaluate(shell, server, agent, retries=2)
    assert_model_broke(ran, r"status 401 for model '[\w.-]+': .*(invalid x-api-key|API key)")
    assert (server.answered, ran.data["attempts"]) == (0, 3)


@pytest.mark.parametrize("agent", AGENTS)
def test_an_api_that_is_busy_for_a_while_and_breaks_off_once_is_waited_for(
    shell: Shell, agent: str
) -> None:
    limit = ApiError(429, "too much at once", headers=SOON)
    busy = ApiError(529, "overloaded", headers=SOON)
    cut = HangUp(after_bytes=150, after_events=4)
    trouble = [*[limit] * 6, *[busy] * 6, cut]
    with in_thread(replies(*trouble, then=letter_count)) as server:
        ran = evaluate(shell, server, agent)
    assert_graded(ran)
    assert len(server.requests) == len(trouble) + 3
    assert ran.data["attempts"] == ran.data["llm_calls"] == 3


@pytest.mark.parametrize("agent", ["openai_compatible", "claude"])
def test_an_api_that_stays_busy_is_given_up_after_the_patience_there_is(
    shell: Shell, agent: str
) -> None:
    busy = ApiError(429, "slow down", headers=SOON)
    with in_thread(lambda _: busy) as server:
        ran = evaluate(shell, server, agent, "model_patience_s=1")
    assert_model_broke(
        ran, r"status 429 for model '[\w.-]+': slow down \(waited (\d+|…) s, attempts: "
    )


@pytest.mark.parametrize("agent", ["openai_compatible", "claude"])
def test_answers_that_always_break_off_are_no_zeros(shell: Shell, agent: str) -> None:
    with in_thread(lambda _: HangUp(after_bytes=150, after_events=4)) as server:
        ran = evaluate(shell, server, agent, "model_retries=1")
    assert_model_broke(ran, "broke off before its answer was whole")
    assert len(server.requests) == 6


def test_what_is_no_answer_at_all_is_no_zero(shell: Shell) -> None:
    page = RawReply(b"<html>Under construction</html>", content_type="text/html")
    with in_thread(lambda _: page) as server:
        ran = evaluate(shell, server, "openai_compatible")
    assert_model_broke(ran, "no chat completion, not JSON: an HTML page")


@pytest.mark.parametrize("agent", AGENTS)
def test_malformed_calls_hanging_tools_and_8k_pictures_are_the_models_to_deal_with(
    shell: Shell, agent: str
) -> None:
    need_module("PIL")
    write_screen(shell.folder / "screen.png")
    malformed = Say(calls=[Call("order", MALFORMED)])
    rules: dict[str, Rule] = {
        "order": replies(malformed, then=order),
        "sleep_for_ever": wait_for_a_tool_that_hangs,
        "screenshot": look_at_an_8k_screen,
    }

    def rule(question: Question) -> Reply:
        tool = question.turns[0].text.removeprefix("Call ").partition(",")[0]
        answer = rules[tool](question)
        assert not isinstance(answer, Awaitable)
        return answer

    with in_thread(rule) as server:
        ran = evaluate(shell, server, agent, "tool_timeout_seconds=4", only=",".join(rules))
        (ordered,) = [run for run in ran.data["runs"] if run["task"] == "order"]
        trace = shell("trace", ordered["trace_id"], "--json")
    assert_graded(ran)
    assert ran.data["turns"] == 3 + 2 + 2
    assert not re.search("^(warning|error): ", ran.err, re.MULTILINE), ran.err
    assert MALFORMED in json.dumps(trace.data).replace("\\", "")


MALFORMED = '{"item": "bre'


def write_screen(path: Path) -> None:
    """Write a PNG of 7680x4320 pixels with a red square in the middle."""
    from PIL import Image

    picture = Image.new("RGB", (7680, 4320), "navy")
    picture.paste((255, 0, 0), (3800, 2100, 3880, 2220))
    picture.save(path, compress_level=1)


def order(question: Question) -> Reply:
    said = [result.text for result in question.last_results]
    if said == ["ordered bread"]:
        return Say("done")
    return Say(calls=[Call("order", {"item": "bread"})])


def wait_for_a_tool_that_hangs(question: Question) -> Reply:
    if question.turn == 0:
        return Say(calls=[Call("sleep_for_ever", {})])
    said = question.last_results[0].text
    return Say("done" if "did not answer within 4 s" in said else said)


def look_at_an_8k_screen(question: Question) -> Reply:
    from PIL import Image

    if question.turn == 0:
        return Say(calls=[Call("screenshot", {})])
    turn = question.turns[-1]
    shown = [*turn.images, *(image for each in turn.results for image in each.images)]
    if len(shown) != 1:
        return Say(f"no picture: {turn}")
    (picture,) = shown
    image = Image.open(io.BytesIO(picture.data)).convert("RGB")
    width, height = image.size
    if not 1000 <= width <= 2000 or width * 9 != height * 16:
        return Say(f"{width}x{height}")
    middle = image.getpixel((width // 2, height // 2))
    return Say("done" if middle == (255, 0, 0) else f"something else: {middle}")
