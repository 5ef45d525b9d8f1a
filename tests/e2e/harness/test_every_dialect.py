"""Every dialect does every kind of task of the examples, and its trace shows all of it."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from hud import LocalRuntime, SubprocessRuntime, Taskset
from hud._core import json
from hud.agents.run import Run
from hud.eval.job import Job
from hud.eval.recording import default_store
from hud.models.prices import price_of
from hud.testing.model_server import ModelServer, Question, Result, Say
from hud.trace.content import ImageContent, MCPToolResult, TextContent
from hud.trace.steps import AgentStep, ToolStep
from tests.conformance.daemons.cdp import NAMES
from tests.e2e.harness import policies
from tests.e2e.harness.policies import Policy
from tests.e2e.harness.served import (
    KEY,
    MODELS,
    PROVIDERS,
    Conversations,
    Heard,
    agent_of,
    bare_home,
    provider,
    variables,
)
from tests.needs import need_module, need_program

EXAMPLES = Path(__file__).parents[3] / "examples"
# What a dialect says where its results have no place for a picture, or need the address of a page.
_DIALECTS_OWN = ("(a picture follows)", '{"url":"about:blank"}')
DIALECTS = ("messages", "responses", "chat", "gemini")

MENDING_TOOLS = {
    "messages": {"bash", "str_replace_based_edit_tool"},
    "responses": {"shell", "apply_patch"},
    "chat": {"bash", "edit_file"},
    "gemini": {"bash", "edit_file"},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with bare_home(tmp_path, monkeypatch) as home:
        yield home


async def evaluate(
    home: Path, dialect: str, example: str, policy: Policy, names: list[str], *, apart: bool = False
) -> Conversations:
    """Run tasks of an example, and see that all are done and all of it is on the traces."""
    source = EXAMPLES / example / "tasks.py"
    every = Taskset.from_file(source)
    tasks = Taskset(example, [task for task in every if task.slug in names])
    assert len(tasks) == len(names), [task.slug for task in every]
    runtime = SubprocessRuntime(source) if apart else LocalRuntime(source)
    conversations = Conversations(policy)
    async with provider(home, conversations) as server:
        agent = agent_of(dialect)
        agent.check_ready()
        job = await tasks.run(agent, runtime=runtime)
    assert [run.reward for run in job.runs] == [1.0] * len(names), _ends(job)
    assert {request.dialect.value for request in server.requests} == {dialect}
    for run in job.runs:
        check_trace(run, conversations.heard[run.prompt_text], dialect)
    return conversations


def check_trace(run: Run, heard: list[Heard], dialect: str) -> None:
    """See that a trace tells what was said, called, observed and paid, and is kept so."""
    steps = run.trace.steps
    turns = [step for step in steps if isinstance(step, AgentStep)]
    assert len(turns) == len(heard)
    observed = {
        step.call.id: step.result
        for step in steps
        if isinstance(step, ToolStep) and step.call is not None
    }
    costs: list[float] = []
    for step, turn in zip(turns, heard, strict=True):
        said = turn.said
        assert (step.content or "") == said.text
        assert step.reasoning == said.reasoning
        assert [call.id for call in step.tool_calls] == [call.id for call in said.calls]
        assert step.done == (not said.calls)
        usage = step.usage
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (
            said.prompt_tokens,
            said.completion_tokens,
            said.cached_tokens,
        )
        assert usage.cost_usd == pytest.approx(_price(dialect, turn.question, turn))
        costs.append(usage.cost_usd or 0.0)
    for turn in heard:
        results = turn.question.last_results
        kept = [observed[result.call_id] for result in results]
        for result, of in zip(results, kept, strict=True):
            assert_told(of, result)
        if results:
            shown = [image for result in results for image in result.images]
            shown += turn.question.turns[-1].images
            assert [image.base64 for image in shown] == [
                data for result in kept for data in _pictures(result)
            ]
    assert run.usage.cost_usd == pytest.approx(math.fsum(costs)) and all(costs)
    assert (run.trace.stop_reason, run.trace.content) == ("done", heard[-1].said.text)
    kept = default_store().find_run(run.trace_id or "")
    assert (kept.reward, kept.turns, kept.unpriced_turns) == (1.0, len(turns), 0)
    assert kept.cost_usd == pytest.approx(math.fsum(costs))
    stored = [record.payload for record in default_store().read_steps(kept.id)]
    assert [_comparable(json.decode(payload)) for payload in stored] == [
        _comparable(step.model_dump(mode="json")) for step in steps
    ]
    assert KEY.encode() not in b"".join(stored)


def assert_told(kept: MCPToolResult | None, told: Result) -> None:
    """See that the trace has every line of what the model was told of a call."""
    assert kept is not None
    texts = "\n".join(block.text for block in kept.content if isinstance(block, TextContent))
    said = told.text
    if said.startswith('{"url":') and said not in _DIALECTS_OWN:
        said = json.decode(said)["url"]
    for line in said.splitlines():
        assert line.strip() in texts or line in _DIALECTS_OWN, (told.text, texts)


def _pictures(result: MCPToolResult | None) -> list[str]:
    blocks = result.content if result is not None else []
    return [block.data for block in blocks if isinstance(block, ImageContent)]


def _price(dialect: str, question: Question, turn: Heard) -> float:
    price = price_of(PROVIDERS[dialect], question.model)
    said = turn.said
    assert price is not None and price.cache_read is not None
    assert said.prompt_tokens is not None and said.completion_tokens is not None
    plain = said.prompt_tokens - said.cached_tokens
    per_million = plain * price.input + said.cached_tokens * price.cache_read
    return (per_million + said.completion_tokens * price.output) / 1e6


def _comparable(step: Any) -> Any:
    """Return a step without what is empty: whether it is written out is the store's affair."""
    if isinstance(step, dict):
        row = cast("dict[str, Any]", step)
        held = {name: _comparable(value) for name, value in row.items()}
        return {name: value for name, value in held.items() if value not in (None, [], {})}
    if isinstance(step, list):
        return [_comparable(item) for item in cast("list[Any]", step)]
    return step


def _ends(job: Job) -> list[Any]:
    return [
        (run.outcome, run.trace.error, run.trace.content, run.trace.stop_reason, run.grade.reward)
        for run in job.runs
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_letters_are_counted(home: Path, dialect: str) -> None:
    words = ["strawberry", "mississippi", "onomatopoeia"]
    names = [f"letters-{word}" for word in words]
    await evaluate(
        home, dialect, "quickstart", policies.count_letters, names, apart=dialect == "messages"
    )


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_bug_is_fixed_over_ssh(home: Path, dialect: str) -> None:
    need_program("bwrap")
    every = Taskset.from_file(EXAMPLES / "fix_test" / "tasks.py")
    names = [task.slug for task in every][:1] if dialect == "chat" else [list(every)[1].slug]
    heard = await evaluate(home, dialect, "fix_test", policies.mend, names)
    (turns,) = heard.heard.values()
    used = {call.name for turn in turns for call in turn.said.calls}
    assert used == MENDING_TOOLS[dialect]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_form_is_filled_in_over_cdp(home: Path, dialect: str) -> None:
    need_program(*NAMES)
    need_program("bwrap")
    need_module("PIL")
    every = [task.slug for task in Taskset.from_file(EXAMPLES / "web_form" / "tasks.py")]
    policy = policies.sign_up_by_element if dialect == "chat" else policies.sign_up
    heard = await evaluate(home, dialect, "web_form", policy, every[1:])
    (turns,) = heard.heard.values()
    used = {call.name for turn in turns for call in turn.said.calls}
    by_pixel = {"computer", "click_at", "type_text_at", "open_web_browser"}
    assert used & by_pixel if dialect != "chat" else not used & by_pixel


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_note_is_typed_over_rfb(home: Path, dialect: str) -> None:
    for name in ("bwrap", "Xvnc", "openbox", "mousepad"):
        need_program(name)
    need_module("PIL")
    every = [task.slug for task in Taskset.from_file(EXAMPLES / "desktop_note" / "tasks.py")]
    which = every[:1] if dialect in ("chat", "gemini") else every[1:]
    await evaluate(home, dialect, "desktop_note", policies.take_note, which)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_things_are_ordered_over_mcp(home: Path, dialect: str) -> None:
    every = [task.slug for task in Taskset.from_file(EXAMPLES / "custom_tool" / "tasks.py")]
    await evaluate(home, dialect, "custom_tool", policies.spend, every[:1])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_at_an_address_of_ones_own_a_cost_is_unknown_until_the_user_says_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    """Nobody knows what a server behind OPENAI_BASE_URL charges: that is null, never 0."""
    every = Taskset.from_file(EXAMPLES / "quickstart" / "tasks.py")
    tasks = Taskset("one", list(every)[:1])
    runtime = LocalRuntime(EXAMPLES / "quickstart" / "tasks.py")
    said = replace(Say("3"), prompt_tokens=1_000_000, completion_tokens=500_000)
    async with ModelServer(lambda _: said) as server:
        for name, value in variables(server).items():
            monkeypatch.setenv(name, value)
        unknown = await tasks.run(agent_of(dialect), runtime=runtime)
        own = f'[[models]]\nname = "{MODELS[dialect]}"\nprice = {{ input = 2, output = 4 }}\n'
        (home / "models.toml").write_text(own)
        known = await tasks.run(agent_of(dialect), runtime=runtime)
    (first,), (second,) = unknown.runs, known.runs
    assert (first.reward, second.reward) == (1.0, 1.0)
    assert (first.usage.cost_usd, second.usage.cost_usd) == (None, 4.0)
    assert (first.usage.prompt_tokens, first.usage.completion_tokens) == (1_000_000, 500_000)
