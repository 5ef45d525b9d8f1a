"""`hud eval` when the model's API misbehaves, or the model or a tool does: what is said, and how.

What broke is no zero: it has no grade, an outcome, and one sentence. What the model did is graded.
"""

from __future__ import annotations

import io
import json
import re
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
    Say,
    letter_count,
)
from tests.e2e.harness.served import KEY, KEYS, in_thread, replies, variables
from tests.e2e.hud_command import Result, Shell
from tests.needs import need_module

TASKS = '''
import asyncio
import io

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
def screenshot():
    from PIL import Image

    picture = Image.new("RGB", (7680, 4320), "navy")
    picture.paste((255, 0, 0), (3800, 2100, 3880, 2180))
    return picture


letters = [count_letter(word=word) for word in ("strawberry", "raspberry", "blueberry")]
used = [use(tool=tool) for tool in ("order", "sleep_for_ever", "screenshot")]
for task in used:
    task.slug = task.args["tool"]
tasks = [*letters, *used]
'''
AGENTS = """
from hud.agents.claude import ClaudeAgent
from hud.agents.gemini import GeminiAgent
from hud.agents.openai import OpenAIAgent
from hud.agents.types import ClaudeConfig, GeminiConfig, OpenAIConfig

PATIENCE_S = {patience_s}

claude = ClaudeAgent(ClaudeConfig(model_patience_s=PATIENCE_S, tool_timeout_seconds=2))
openai = OpenAIAgent(OpenAIConfig(model_patience_s=PATIENCE_S, tool_timeout_seconds=2))
gemini = GeminiAgent(GeminiConfig(model_patience_s=PATIENCE_S, tool_timeout_seconds=2))
"""
SOON = {"Retry-After-Ms": "20", "Retry-After": "0"}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    for name in [name for name in shell.env if name.endswith(("_API_KEY", "_BASE_URL"))]:
        del shell.env[name]
    shell.write("tasks.py", TASKS)
    shell.write("agents.py", AGENTS.format(patience_s=300))
    return shell


def evaluate(
    shell: Shell, server: ModelServer, agent: str, *more: str, only: str | None = None
) -> Result:
    """Run an agent over the tasks about letters, or over one task."""
    shell.env |= variables(server)
    which = [agent if agent == "openai_compatible" else f"agents.py:{agent}"]
    if agent == "openai_compatible":
        which += ["--model", "gpt-5.4-mini", "--config", "tool_timeout_seconds=2"]
    tasks = only or ",".join(LETTER_TASKS)
    ran = shell("eval", "tasks.py", *which, "--task-ids", tasks, "--json", *more)
    assert KEY not in ran.out + ran.err
    return ran


LETTER_TASKS = ("count_letter",)


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
        ("agents.py:claude", "ANTHROPIC_API_KEY"),
        ("agents.py:openai", "OPENAI_API_KEY"),
        ("agents.py:gemini", "GEMINI_API_KEY"),
    ],
)
def test_without_a_key_nothing_is_run_and_the_variable_is_named(
    shell: Shell, agent: str, variable: str
) -> None:
    ran = shell("eval", "tasks.py", agent, "--all", "--json")
    assert (ran.code, ran.out) == (2, "")
    assert f"{variable}" in ran.err and "is not set" in ran.err
    assert f"hud set {variable}=" in ran.err
    assert not shell.home.exists()
    assert not any(shell.env.get(name) for name in KEYS)


@pytest.mark.parametrize("agent", ["openai_compatible", "gemini"])
def test_a_model_there_is_not_is_named(shell: Shell, agent: str) -> None:
    def rule(question: Question) -> Reply:
        return ApiError(404, f"The model `{question.model}` does not exist", "model_not_found")

    with in_thread(rule) as server:
        ran = evaluate(shell, server, agent, "--retries", "0")
    assert_model_broke(ran, r"status 404 for model '[\w.-]+': The model `[\w.-]+` does not exist")
    assert len(server.requests) == 3


@pytest.mark.parametrize("agent", ["claude", "openai"])
def test_a_key_that_is_refused_is_said_without_the_key(shell: Shell, agent: str) -> None:
    with in_thread(letter_count, api_key="another") as server:
        ran = evaluate(shell, server, agent, "--retries", "0")
    assert_model_broke(ran, r"status 401 for model '[\w.-]+': .*(invalid x-api-key|API key)")
    assert server.answered == 0


@pytest.mark.parametrize("agent", ["openai_compatible", "claude", "openai", "gemini"])
def test_an_api_that_is_busy_for_a_while_and_breaks_off_once_is_waited_for(
    shell: Shell, agent: str
) -> None:
    limit = ApiError(429, "too much at once", headers=SOON)
    busy = ApiError(529, "overloaded", headers=SOON)
    cut = HangUp(after_bytes=150, after_events=4)
    trouble = [*[limit] * 6, *[busy] * 6, cut]
    with in_thread(replies(*trouble, then=letter_count)) as server:
        ran = evaluate(shell, server, agent, "--retries", "0")
    assert_graded(ran)
    assert len(server.requests) == len(trouble) + 3
    assert ran.data["attempts"] == ran.data["llm_calls"] == 3


@pytest.mark.parametrize("agent", ["openai_compatible", "claude"])
def test_an_api_that_stays_busy_is_given_up_after_the_patience_there_is(
    shell: Shell, agent: str
) -> None:
    shell.write("agents.py", AGENTS.format(patience_s=1))
    busy = ApiError(429, "slow down", headers=SOON)
    with in_thread(lambda _: busy) as server:
        more = ["--config", "model_patience_s=1"] if agent == "openai_compatible" else []
        ran = evaluate(shell, server, agent, *more, "--retries", "0")
    assert_model_broke(ran, r"status 429 for model '[\w.-]+': slow down \(waited \d+ s, attempts: ")


@pytest.mark.parametrize("agent", ["openai_compatible", "claude"])
def test_answers_that_always_break_off_are_no_zeros(shell: Shell, agent: str) -> None:
    shell.write("agents.py", AGENTS.format(patience_s=300) + "claude.config.model_retries = 1\n")
    with in_thread(lambda _: HangUp(after_bytes=150, after_events=4)) as server:
        more = ["--config", "model_retries=1"] if agent == "openai_compatible" else []
        ran = evaluate(shell, server, agent, *more, "--retries", "0")
    assert_model_broke(ran, "broke off before its answer was whole")
    assert len(server.requests) == 6


def test_what_is_no_answer_at_all_is_no_zero(shell: Shell) -> None:
    page = RawReply(b"<html>Under construction</html>", content_type="text/html")
    with in_thread(lambda _: page) as server:
        ran = evaluate(shell, server, "openai_compatible", "--retries", "0")
    assert_model_broke(ran, "no chat completion, not JSON: an HTML page")


@pytest.mark.parametrize("agent", ["openai_compatible", "claude", "openai", "gemini"])
def test_malformed_calls_hanging_tools_and_8k_pictures_are_the_models_to_deal_with(
    shell: Shell, agent: str
) -> None:
    need_module("PIL")
    rules = {
        "order": order_after_malformed_arguments,
        "sleep_for_ever": wait_for_a_tool_that_hangs,
        "screenshot": look_at_an_8k_screen,
    }

    def rule(question: Question) -> Reply:
        tool = question.turns[0].text.removeprefix("Call ").partition(",")[0]
        return rules[tool](question)

    with in_thread(rule) as server:
        ran = evaluate(shell, server, agent, only=",".join(rules))
        (order,) = [run for run in ran.data["runs"] if run["task"] == "order"]
        trace = shell("trace", order["trace_id"], "--json")
    assert_graded(ran)
    assert ran.data["turns"] == 3 + 2 + 2
    assert MALFORMED in json.dumps(trace.data).replace("\\", "")


MALFORMED = '{"item": "bre'


def order_after_malformed_arguments(question: Question) -> Reply:
    match question.turn:
        case 0:
            return Say(calls=[Call("order", MALFORMED)])
        case 1:
            return Say(calls=[Call("order", {"item": "bread"})])
        case _:
            said = question.last_results[0].text
            return Say("done" if said == "ordered bread" else said)


def wait_for_a_tool_that_hangs(question: Question) -> Reply:
    if question.turn == 0:
        return Say(calls=[Call("sleep_for_ever", {})])
    said = question.last_results[0].text
    return Say("done" if "did not answer within 2 s" in said else said)


def look_at_an_8k_screen(question: Question) -> Reply:
    from PIL import Image

    if question.turn == 0:
        return Say(calls=[Call("screenshot", {})])
    turn = question.turns[-1]
    (picture,) = [*turn.images, *(image for each in turn.results for image in each.images)]
    image = Image.open(io.BytesIO(picture.data)).convert("RGB")
    width, height = image.size
    if not 1000 <= width <= 2000 or width * 9 != height * 16:
        return Say(f"{width}x{height}")
    middle = image.getpixel((width // 2, height // 2))
    return Say("done" if middle == (255, 0, 0) else f"something else: {middle}")
