"""The loop and its tools, with a dialect that plays given replies and keeps what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hud import Environment, LocalRuntime, Run
from hud._core.errors import AgentFault, CapabilityFault
from hud.agents.tool_agent import RunState, ToolAgent
from hud.agents.tools import AgentTool, subagent, text_result, tool_maker
from hud.agents.tools.mcp import MCPTool
from hud.agents.types import ToolAgentConfig
from hud.eval import Taskset
from hud.models.failure import ContextOverflow
from hud.trace.content import ImageContent, MCPToolCall, MCPToolResult, TextContent
from hud.trace.steps import AgentStep, SubagentStep, ToolStep, Usage

Reply = AgentStep | Exception


class Scripted(ToolAgent[ToolAgentConfig, Any]):
    """Plays one reply a turn, and keeps the results it is given."""

    tool_catalog = (MCPTool,)

    def __init__(self, replies: Sequence[Reply], tools: Sequence[Any] = (), **config: Any) -> None:
        super().__init__(ToolAgentConfig(**config), tools=tools)
        self.replies = list(replies)
        self.told: list[MCPToolResult] = []
        self.offered: list[str] = []
        self.prompts: list[str | None] = []
        self.can_trim = False

    async def get_response(
        self,
        state: RunState[Any],
        *,
        system_prompt: str | None = None,
        citations_enabled: bool = False,
    ) -> AgentStep:
        self.prompts.append(system_prompt)
        self.offered = list(state.tools)
        reply = self.replies.pop(0) if self.replies else say("done")
        if isinstance(reply, Exception):
            raise reply
        return reply

    def format_results(
        self, calls: Sequence[MCPToolCall], results: Sequence[MCPToolResult]
    ) -> list[Any]:
        self.told.extend(results)
        return super().format_results(calls, results)

    def trim(self, state: RunState[Any]) -> bool:
        return self.can_trim


def say(text: str, **fields: Any) -> AgentStep:
    return AgentStep(content=text, **fields)


def call(name: str, arguments: Any = None, **fields: Any) -> AgentStep:
    return AgentStep(tool_calls=[MCPToolCall(name=name, arguments=arguments)], **fields)


def text_of(result: MCPToolResult) -> str:
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


async def ran(agent: Scripted) -> Run:
    """Run an agent without an environment, as far as its own tools go."""
    run = Run(None, "task", {})
    run.prompt = "Do it."
    await agent(run)
    return run


async def test_a_model_without_calls_is_done_at_once() -> None:
    run = await ran(Scripted([say("42")]))
    assert (run.trace.content, run.trace.stop_reason) == ("42", "done")
    (step,) = run.trace.steps
    assert isinstance(step, AgentStep) and step.done


async def test_calls_are_carried_out_recorded_and_told_to_the_model() -> None:
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    agent = Scripted([call("add", {"a": 2, "b": 3}), say("5")], tools=[add])
    run = await ran(agent)
    assert [text_of(result) for result in agent.told] == ["5"]
    assert [type(step) for step in run.trace.steps] == [AgentStep, ToolStep, AgentStep]
    assert run.trace.content == "5"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (call("nothing"), "there is no tool 'nothing'; there are: fail"),
        (call("fail", "{broken"), "the arguments are no JSON object: {broken"),
        (call("fail", {"unknown": 1}), "unknown"),
        (call("fail"), "ValueError: no luck"),
    ],
)
async def test_a_call_that_cannot_be_carried_out_is_told_to_the_model(
    made: AgentStep, said: str
) -> None:
    def fail() -> None:
        raise ValueError("no luck")

    agent = Scripted([made, say("sorry")], tools=[fail])
    run = await ran(agent)
    (result,) = agent.told
    assert result.isError and said in text_of(result)
    assert (run.trace.content, run.trace.stop_reason) == ("sorry", "done")


async def test_a_tool_that_hangs_is_given_up_and_the_model_told() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    agent = Scripted([call("hang"), say("next")], tools=[hang], tool_timeout_seconds=0.05)
    run = await ran(agent)
    assert "did not answer within 0.05 s" in text_of(agent.told[0])
    assert run.trace.content == "next"


async def test_calls_of_one_turn_on_different_tools_run_at_the_same_time() -> None:
    met = asyncio.Barrier(2)

    async def left() -> str:
        await met.wait()
        return "left"

    async def right() -> str:
        await met.wait()
        return "right"

    both = AgentStep(tool_calls=[MCPToolCall(name="right"), MCPToolCall(name="left")])
    agent = Scripted([both], tools=[left, right])
    await ran(agent)
    assert [text_of(result) for result in agent.told] == ["right", "left"]


async def test_the_middle_of_a_long_output_is_left_out_with_a_notice() -> None:
    agent = Scripted([call("shout")], tools=[shout], max_output_chars=1_000)
    await ran(agent)
    text = text_of(agent.told[0])
    assert text.startswith("a") and text.endswith("z")
    assert "characters left out" in text and len(text) < 1_100


def shout() -> str:
    return "a" * 50_000 + "z" * 50_000


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"max_steps": 3}, "max_steps"),
        ({"max_total_tokens": 30}, "max_tokens"),
        ({"max_cost_usd": 0.03}, "max_cost"),
    ],
)
async def test_a_limit_of_the_run_ends_it_with_its_reason(
    config: dict[str, Any], reason: str
) -> None:
    usage = Usage(prompt_tokens=8, completion_tokens=2, cost_usd=0.01)
    endless = [call("ping", usage=usage) for _ in range(10)]
    agent = Scripted(endless, tools=[ping], **config)
    run = await ran(agent)
    assert run.trace.stop_reason == reason
    turns = [step for step in run.trace.steps if isinstance(step, AgentStep)]
    assert len(turns) == 3
    assert [text_of(result) for result in agent.told] == ["pong"] * 3, "the last one included"


def ping() -> str:
    return "pong"


async def test_without_a_limit_on_steps_the_model_decides() -> None:
    agent = Scripted([call("ping") for _ in range(40)], tools=[ping], max_steps=-1)
    run = await ran(agent)
    assert run.trace.stop_reason == "done" and len(agent.told) == 40


@pytest.mark.parametrize(
    ("reply", "stop_on", "reason", "told"),
    [
        (say("half", finish_reason="length"), set[str](), "length", 0),
        (call("ping", finish_reason="length"), set[str](), "done", 1),
        (call("ping", finish_reason="length"), {"length"}, "length", 0),
        (call("ping", "{bad"), {"malformed_tool_call"}, "malformed_tool_call", 0),
        (call("ping", "{bad"), set[str](), "done", 1),
    ],
)
async def test_what_ends_a_run_early(
    reply: AgentStep, stop_on: set[str], reason: str, told: int
) -> None:
    agent = Scripted([reply], tools=[ping], stop_on=stop_on)
    run = await ran(agent)
    assert (run.trace.stop_reason, len(agent.told)) == (reason, told)


async def test_a_conversation_too_long_is_graded_as_it_is() -> None:
    agent = Scripted([say("so far"), ContextOverflow("too long")], auto_respond=False)
    agent.replies[0] = call("ping", content="so far")
    agent.own_tools = (ping,)
    run = await ran(agent)
    assert (run.trace.content, run.trace.stop_reason) == ("so far", "context_overflow")


async def test_a_conversation_too_long_is_trimmed_when_that_is_wanted() -> None:
    agent = Scripted([ContextOverflow("too long"), say("shorter")], on_context_overflow="trim")
    agent.can_trim = True
    run = await ran(agent)
    assert (run.trace.content, run.trace.stop_reason) == ("shorter", "done")


async def test_a_model_that_asks_back_is_told_to_go_on() -> None:
    agent = Scripted(
        [say("Shall I?"), say("CONTINUE"), say("Done."), say("STOP")],
        auto_respond=True,
        system_prompt="Be brief.",
    )
    run = await ran(agent)
    assert (run.trace.content, run.trace.stop_reason) == ("Done.", "done")
    assert [step.extra.get("purpose") for step in run.trace.steps] == [
        None,
        "auto_respond",
        None,
        None,
        "auto_respond",
    ]
    assert agent.prompts[0] == agent.prompts[2] == "Be brief."


class Flaky(AgentTool[Any]):
    """A tool whose capability is gone."""

    name = "flaky"

    def __init__(self, run: Run, config: ToolAgentConfig) -> None:
        self.left = 2

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        if self.left == 0:
            return text_result("back")
        self.left -= 1
        raise CapabilityFault("the connection was lost")


class Broken(Flaky):
    """One that never comes back."""

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        raise CapabilityFault("the connection was lost")


async def test_a_capability_that_fails_now_and_then_is_tried_again() -> None:
    agent = Scripted([call("flaky") for _ in range(3)], tools=[tool_maker(Flaky)])
    run = await ran(agent)
    assert [result.isError for result in agent.told] == [True, True, False]
    assert run.trace.stop_reason == "done"


async def test_a_capability_that_fails_three_times_in_a_row_ends_the_run() -> None:
    agent = Scripted([call("flaky") for _ in range(5)], tools=[tool_maker(Broken)])
    with pytest.raises(CapabilityFault, match="the connection was lost"):
        await ran(agent)
    assert len(agent.told) == 2


class Buggy(Flaky):
    """A tool with a bug."""

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        raise KeyError("oops")


async def test_a_bug_in_a_tool_is_the_harnesss_own() -> None:
    with pytest.raises(AgentFault, match="tool flaky raised KeyError"):
        await ran(Scripted([call("flaky")], tools=[tool_maker(Buggy)]))


async def test_the_tools_of_an_environment_are_offered_and_change_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path))
    env = Environment("counter")
    held: list[int] = []

    @env.tool
    def keep(number: int) -> str:
        """Keep a number."""
        held.append(number)
        return f"kept {number}"

    @env.template()
    async def kept(number: int) -> AsyncGenerator[str | float, str]:
        yield f"Keep {number}."
        yield float(held == [number])

    agent = Scripted([call("keep", {"number": 7}), say("kept")])
    job = await Taskset("t", [kept(number=7)]).run(agent, runtime=LocalRuntime(env))
    assert (job.reward, agent.offered) == (1.0, ["keep"])
    assert [text_of(result) for result in agent.told] == ["kept 7"]


async def test_a_subagent_works_on_its_own_trace_and_its_tokens_count() -> None:
    usage = Usage(prompt_tokens=5, completion_tokens=1)
    asked: list[str] = []

    async def helper(run: Run) -> str:
        asked.append(run.prompt_text)
        run.record(AgentStep(content="found", usage=usage))
        return "it is blue"

    ask = subagent(helper, name="ask_helper", description="Looks things up.")
    agent = Scripted(
        [call("ask_helper", {"task": "Which colour?"}, usage=usage), say("blue", usage=usage)],
        tools=[ask],
    )
    run = await ran(agent)
    assert (asked, [text_of(result) for result in agent.told]) == (
        ["Which colour?"],
        ["it is blue"],
    )
    nested = [step for step in run.trace.steps if isinstance(step, SubagentStep)]
    assert [step.subagent.status for step in nested] == ["completed"]
    assert [step.subagent.content for step in nested] == ["it is blue"]
    assert run.usage.prompt_tokens == 15


async def test_what_a_subagent_uses_counts_toward_the_runs_own_limit() -> None:
    async def helper(run: Run) -> str:
        run.record(AgentStep(usage=Usage(prompt_tokens=90, completion_tokens=10)))
        return "found"

    ask = subagent(helper, name="ask_helper", description="Looks things up.")
    asked = [call("ask_helper", {"task": "Look."}) for _ in range(5)]
    run = await ran(Scripted(asked, tools=[ask], max_total_tokens=200))
    assert run.trace.stop_reason == "max_tokens"
    assert len([step for step in run.trace.steps if isinstance(step, SubagentStep)]) == 2


async def test_subagents_do_not_call_each_other_without_end() -> None:
    depths: list[list[str]] = []

    class Nested(Scripted):
        async def __call__(self, run: Run) -> None:
            await super().__call__(run)
            depths.append(self.offered)

    leaf = Nested([say("leaf")])
    inner = Nested([say("inner")])
    leaf.own_tools = (subagent(inner, name="deeper", description="", max_depth=1),)
    outer = Nested(
        [call("deeper", {"task": "go"})],
        tools=[subagent(leaf, name="deeper", description="", max_depth=1)],
    )
    await ran(outer)
    assert depths == [[], ["deeper"]]


class Step(AgentTool[Any]):
    """Fails when it is told to, and keeps what it carried out."""

    name = "step"
    stops_at_failure = True

    def __init__(self, done: list[int]) -> None:
        self.done = done

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        self.done.append(arguments["number"])
        return text_result("x", is_error=arguments["number"] == 2)


async def test_a_tool_may_have_the_rest_of_a_turn_left_out_after_a_failure() -> None:
    def turn(*numbers: int) -> AgentStep:
        calls = [MCPToolCall(name="step", arguments={"number": number}) for number in numbers]
        return AgentStep(tool_calls=calls)

    done: list[int] = []
    made = tool_maker(lambda run, config: Step(done))
    agent = Scripted([turn(1, 2, 3), turn(4)], tools=[made])
    await ran(agent)
    assert done == [1, 2, 4]
    assert [result.isError for result in agent.told] == [False, True, True, False]
    assert "an earlier action of this turn failed" in text_of(agent.told[2])


async def test_a_picture_no_api_takes_is_not_sent_to_one() -> None:
    def broken() -> MCPToolResult:
        """Show a picture."""
        return MCPToolResult(content=[ImageContent(data="aGV5", mimeType="image/png")])

    agent = Scripted([call("broken")], tools=[broken])
    await ran(agent)
    assert "A picture cannot be shown here" in text_of(agent.told[0])
