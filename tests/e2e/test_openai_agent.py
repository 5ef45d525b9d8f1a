"""The Responses agent: the real SDK against a real server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.shared import Reasoning

from hud._core.errors import AgentFault, ModelFault
from hud.agents import OpenAIAgent
from hud.agents.run import Run
from hud.agents.tools.base import image_result, text_result
from hud.agents.types import HostedTool
from hud.clients.connect import connect
from hud.environment.environment import Environment
from hud.runtimes.local import LocalRuntime
from hud.testing import check_agent
from hud.testing.model_server import (
    ApiError,
    Call,
    Citation,
    ModelServer,
    Question,
    RawReply,
    Say,
    letter_count,
    script,
)
from hud.trace.content import MCPToolResult
from tests.e2e.asking_models import KEY, PNG, asked, bare, results, turns
from tests.e2e.openai_responses import MakeAgent, agent_for, reply

__all__ = ["agent_for", "bare"]


async def double(n: int) -> int:
    """Double a number."""
    return 2 * n


def message(*content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": list(content)}
    return item | fields


def said(text: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": list(annotations)}


async def test_a_turn_is_asked_recorded_and_graded(agent_for: MakeAgent) -> None:
    env = Environment(name="letters")

    @env.template()
    async def count(word: str) -> AsyncGenerator[Any, Any]:
        answer = yield f"How many 'r's are in '{word}'?"
        yield 1.0 if answer == "3" else 0.0

    answer = Say("3", reasoning="r, rr", prompt_tokens=11, completion_tokens=5, cached_tokens=7)
    async with ModelServer(lambda _: answer) as server, LocalRuntime(env) as runtime:
        agent = agent_for(
            server,
            model="gpt-5.6",
            system_prompt="Answer briefly.",
            max_output_tokens=99,
            reasoning=Reasoning(effort="low", summary="auto"),
            text={"verbosity": "low"},
        )
        task = count("strawberry")
        async with runtime(task) as place, connect(place) as client:
            run = Run(client, task.id, task.args)
            await run.start()
            await agent(run)
            await run.finish()
    body = server.requests[0].body
    key = body.pop("prompt_cache_key")
    assert key.startswith("hud-") and len(key) <= 64
    assert body == {
        "model": "gpt-5.6",
        "input": [{"role": "user", "content": "How many 'r's are in 'strawberry'?"}],
        "store": True,
        "instructions": "Answer briefly.",
        "max_output_tokens": 99,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low"},
    }
    assert (run.trace.content, run.trace.stop_reason, run.grade.reward) == ("3", "done", 1.0)
    (step,) = turns(run)
    assert (step.content, step.reasoning, step.finish_reason, step.model, step.done) == (
        "3", "r, rr", "stop", "gpt-5.6", True,
    )  # fmt: skip
    usage = run.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (11, 5, 7)
    assert step.extra["reasoning_tokens"] == 2
    assert str(step.extra["response_id"]).startswith("resp_")


async def test_the_agent_keeps_the_contract(agent_for: MakeAgent) -> None:
    async with ModelServer(lambda question: question.prompt_text[-20:]) as server:
        await check_agent(lambda: agent_for(server))


async def test_a_turn_sends_what_is_new_and_asks_with_all_of_it(
    agent_for: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_with: list[dict[str, Any]] = []

    async def look(self: Any, state: Any, request: dict[str, Any], send: Any, read: Any) -> Any:
        asked_with.append(json.loads(json.dumps(request)))
        return await whole(self, state, request, send, read)

    whole = OpenAIAgent.ask
    monkeypatch.setattr(OpenAIAgent, "ask", look)
    rule = script(
        Say(reasoning="two at once", calls=[Call("double", {"n": 1}), Call("double", {"n": 2})]),
        Say("and again", calls=[Call("double", {"n": 4})]),
        Say("8"),
    )
    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, tools=[double], parallel_tool_calls=True)(run)
    assert (run.trace.content, results(run)) == ("8", ["2", "4", "8"])
    first, second, third = (request.body for request in server.requests)
    assert first["tools"][0] == {
        "type": "function",
        "name": "double",
        "description": "Double a number.",
        "parameters": first["tools"][0]["parameters"],
        "strict": False,
    }
    assert first["parallel_tool_calls"] is True
    assert second["previous_response_id"] == turns(run)[0].extra["response_id"]
    assert [item["type"] for item in second["input"]] == ["function_call_output"] * 2
    assert [item["output"] for item in second["input"]] == ["2", "4"]
    assert [item["type"] for item in third["input"]] == ["function_call_output"]
    kinds = [item.get("type", item.get("role")) for item in asked_with[2]["input"]]
    assert kinds == [
        "user", "function_call", "function_call", "function_call_output", "function_call_output",
        "message", "function_call", "function_call_output",
    ]  # fmt: skip
    assert "previous_response_id" not in asked_with[2]
    assert len({body["prompt_cache_key"] for body in asked_with}) == 1
    assert [step.finish_reason for step in turns(run)] == ["tool_calls", "tool_calls", "stop"]


async def test_running_again_with_a_cache_asks_nothing(
    agent_for: MakeAgent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HUD_MODEL_CACHE", str(tmp_path / "replies"))
    rule = script(Say(reasoning="hm", calls=[Call("double", {"n": 2})]), Say("4"))
    async with ModelServer(rule) as server:
        first, again, other = asked(), asked(), asked()
        other.member = 1
        for run in (first, again):
            await agent_for(server, tools=[double])(run)
        assert server.received == 2
        await agent_for(server, tools=[double])(other)
        assert server.received == 4
    assert [run.trace.content for run in (first, again, other)] == ["4"] * 3


async def test_a_conversation_the_api_has_lost_is_sent_whole(agent_for: MakeAgent) -> None:
    def lost(question: Question) -> Say | ApiError:
        previous = question.body.get("previous_response_id")
        if previous is not None:
            said = f"Previous response with id '{previous}' not found."
            return ApiError(400, said, "previous_response_not_found")
        calls = [Call("double", {"n": 1})] if question.turn < 4 else []
        return Say(str(question.turn), calls=calls)

    async with ModelServer(lost) as server:
        run = asked()
        await agent_for(server, tools=[double], model_retries=0)(run)
    assert (run.trace.content, run.trace.stop_reason) == ("4", "done")
    short = ["previous_response_id" in request.body for request in server.requests]
    assert short == [False, True, False, True, False, False, False]


async def test_a_server_that_does_not_know_of_going_on_is_told_everything(
    agent_for: MakeAgent,
) -> None:
    def forgetful(question: Question) -> RawReply:
        items = question.body["input"]
        if len(items) < 4:
            call = {"type": "function_call", "name": "double", "arguments": '{"n": 1}'}
            return reply({**call, "call_id": f"call_{len(items)}"})
        return reply(message(said(str(len(items)))))

    async with ModelServer(forgetful) as server:
        run = asked()
        await agent_for(server, tools=[double])(run)
    assert (run.trace.content, results(run)) == ("5", ["2", "2"])


@pytest.mark.parametrize("model", ["gpt-5.6", "gpt-4.1", "served-by-myself"])
async def test_without_storing_everything_is_sent_and_reasoning_comes_back_sealed(
    agent_for: MakeAgent, model: str
) -> None:
    rule = script(Say(reasoning="hm", calls=[Call("double", {"n": 3})]), Say("6"))
    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, tools=[double], model=model, store=False)(run)
    assert run.trace.content == "6"
    first, second = (request.body for request in server.requests)
    assert first["store"] is False and "previous_response_id" not in second
    kinds = [item.get("type", item.get("role")) for item in second["input"]]
    if model == "gpt-5.6":
        assert first["include"] == ["reasoning.encrypted_content"]
        assert kinds == ["user", "reasoning", "function_call", "function_call_output"]
        assert second["input"][1]["encrypted_content"]
    else:  # whose API would refuse to seal, and which would be asked for an id it has not kept
        assert "include" not in first
        assert kinds == ["user", "function_call", "function_call_output"]


async def test_reasoning_in_the_clear_is_read_and_sent_back(agent_for: MakeAgent) -> None:
    thought: dict[str, Any] = {
        "type": "reasoning", "id": "rs_1", "summary": [],
        "content": [{"type": "reasoning_text", "text": "so it is"}],
    }  # fmt: skip
    call = {"type": "function_call", "call_id": "c", "name": "double", "arguments": '{"n": 1}'}
    rule = script(reply(thought, call), Say("2"))
    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, tools=[double], store=False)(run)
    assert turns(run)[0].reasoning == "so it is"
    assert thought in server.requests[1].body["input"]


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("arguments", ['{"n": 1', "[1]", "\x00", "null"])
async def test_malformed_arguments_are_told_back_and_the_history_stays_readable(
    agent_for: MakeAgent, arguments: str, store: bool
) -> None:
    rule = script(Say(calls=[Call("double", arguments)]), Say("sorry"))
    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, tools=[double], store=store)(run)
    assert run.trace.content == "sorry"
    assert turns(run)[0].tool_calls[0].arguments == arguments
    assert results(run)[0].startswith("Error: the arguments are no JSON object")
    if not store:
        call = server.requests[1].body["input"][1]
        assert json.loads(call["arguments"]) == {"malformed": arguments}


async def test_a_run_may_stop_at_a_malformed_call(agent_for: MakeAgent) -> None:
    async with ModelServer(lambda _: Say(calls=[Call("double", "{")])) as server:
        run = asked()
        await agent_for(server, tools=[double], stop_on={"malformed_tool_call"})(run)
    assert run.trace.stop_reason == "malformed_tool_call"


async def test_pictures_and_files_reach_the_model(agent_for: MakeAgent) -> None:
    png = {"type": "image", "data": PNG, "mimeType": "image/png"}
    text = {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}}
    pdf = {
        "type": "resource",
        "resource": {"uri": "file:///b/c.pdf", "blob": "aGV5", "mimeType": "application/pdf"},
    }
    prompt = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "second"},
        *({"role": "user", "content": part} for part in (png, text, pdf)),
    ]

    def look() -> MCPToolResult:
        """Look."""
        return image_result(base64.b64decode(PNG), "image/png", "as you see")

    def rule(question: Question) -> Say:
        return Say("seen") if question.last_results else Say(calls=[Call("look")])

    async with ModelServer(rule) as server:
        await agent_for(server, tools=[look])(asked(prompt))
    first, second = (request.body["input"] for request in server.requests)
    assert first == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "second"},
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}",
                 "detail": "auto"},
                {"type": "input_text", "text": "inside"},
                {"type": "input_file", "filename": "c.pdf",
                 "file_data": "data:application/pdf;base64,aGV5"},
            ],
        },
    ]  # fmt: skip
    assert second[0]["output"] == [
        {"type": "input_text", "text": "as you see"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}",
         "detail": "auto"},
    ]  # fmt: skip


async def test_a_part_that_cannot_be_carried_is_named(agent_for: MakeAgent) -> None:
    sound = {"type": "audio", "data": "aGV5", "mimeType": "audio/wav"}
    async with ModelServer(lambda _: "x") as server:
        with pytest.raises(AgentFault, match="audio/wav, role user"):
            await agent_for(server)(asked([{"role": "user", "content": sound}]))
    assert server.requests == []


async def test_a_row_lays_its_own_settings_over_the_agents(agent_for: MakeAgent) -> None:
    async with ModelServer(lambda _: "x") as server:
        agent = agent_for(server, model="gpt-5.6", temperature=0.5, prompt_cache_key="mine")
        agent.temperature = 0.25
        assert agent.config.temperature == agent.temperature == 0.25
        await agent(asked())
        await agent(asked(model="gpt-4.1", truncation="auto", tool_choice="required"))
    first, second = (request.body for request in server.requests)
    assert (first["model"], first["temperature"], first["prompt_cache_key"]) == (
        "gpt-5.6", 0.25, "mine",
    )  # fmt: skip
    assert (second["model"], second["temperature"], second["truncation"]) == (
        "gpt-4.1", 0.25, "auto",
    )  # fmt: skip
    assert "tool_choice" not in second  # there is nothing to choose from, which is a refusal


async def test_a_task_has_one_cache_key_and_tasks_have_different_ones(
    agent_for: MakeAgent,
) -> None:
    async with ModelServer(lambda _: "x") as server:
        runs = [asked(), asked(), asked()]
        runs[1].member, runs[2].args = 1, {"word": "another"}
        for run in runs:
            await agent_for(server)(run)
    one, same, other = (request.body["prompt_cache_key"] for request in server.requests)
    assert one == same != other


async def test_hosted_tools_are_offered_and_their_work_is_kept(agent_for: MakeAgent) -> None:
    searched = {
        "type": "web_search_call", "id": "ws_1", "status": "completed",
        "action": {"type": "search", "query": "r"},
    }  # fmt: skip
    ran = {"type": "shell_call", "call_id": "s", "action": {"commands": ["ls"]}, "id": "sh_1"}
    output: dict[str, Any] = {"type": "shell_call_output", "call_id": "s", "output": []}
    note = {"type": "url_citation", "url": "http://x", "title": "X", "start_index": 2,
            "end_index": 5}  # fmt: skip
    file = {"type": "file_citation", "file_id": "file_1", "filename": "f.txt", "index": 1}
    answer = reply(searched, ran, output, message(said("Hm.")), message(said("A, bcd", note, file)))
    async with ModelServer(lambda _: answer) as server:
        run, plain = asked(), asked()
        search = HostedTool(spec={"type": "web_search"})
        await agent_for(server, hosted_tools=[search], citations_enabled=True)(run)
        await agent_for(server)(plain)
    assert server.requests[0].body["tools"] == [{"type": "web_search"}]
    (step,) = turns(run)
    assert step.content == "Hm.\n\nA, bcd" and not step.tool_calls
    first, second = step.citations
    assert (first.type, first.source, first.title) == ("url_citation", "http://x", "X")
    assert step.content[first.start_index : first.end_index] == first.text == " bc"
    assert (second.source, second.title, second.start_index) == ("file_1", "f.txt", 6)
    assert step.extra["hosted_tools"] == [
        {"type": "web_search_call", "status": "completed", "action": searched["action"]}
    ]
    assert turns(plain)[0].citations == []


async def test_citations_of_the_server_arrive(agent_for: MakeAgent) -> None:
    cited = Say("It is so.", citations=[Citation("http://x", "X", "so", 6, 8)])
    async with ModelServer(lambda _: cited) as server:
        run = asked()
        await agent_for(server, citations_enabled=True)(run)
    assert [citation.text for citation in turns(run)[0].citations] == ["so"]


async def test_a_comment_is_not_the_answer(agent_for: MakeAgent) -> None:
    answer = reply(
        message(said("I will count."), phase="commentary"),
        message(said("3"), phase="final_answer"),
    )
    async with ModelServer(lambda _: answer) as server:
        run = asked()
        await agent_for(server)(run)
    assert run.trace.content == "3"


@pytest.mark.parametrize(
    ("answer", "content", "finish", "refusal", "stop"),
    [
        (Say(""), "", "stop", None, "done"),
        (Say(None, refusal="I will not"), "", "refusal", "I will not", "done"),
        (Say("It is th", finish="length"), "It is th", "length", None, "length"),
        (Say("It", finish="content_filter"), "It", "content_filter", None, "done"),
        (reply(), "", "stop", None, "done"),
        (ApiError(400, "flagged", "invalid_prompt"), "", "content_filter", "flagged", "done"),
        (reply(status="failed", error={"code": "bio_policy", "message": "no"}), "",
         "content_filter", "no", "done"),
    ],
)  # fmt: skip
async def test_whatever_a_model_says_is_an_answer(
    agent_for: MakeAgent, answer: Any, content: str, finish: str, refusal: str | None, stop: str
) -> None:
    async with ModelServer(lambda _: answer) as server:
        run = asked()
        await agent_for(server)(run)
    (step,) = turns(run)
    assert (run.trace.content, step.finish_reason, run.trace.stop_reason) == (content, finish, stop)
    assert step.refusal == refusal


async def test_a_picture_the_api_refuses_is_the_models_doing_once_it_works(
    agent_for: MakeAgent,
) -> None:
    def look() -> MCPToolResult:
        """Look."""
        return image_result(base64.b64decode(PNG), "image/png")

    refused = ApiError(400, "The image data is not valid", "invalid_image")
    async with ModelServer(script(Say("a look", calls=[Call("look")]), refused)) as server:
        run = asked()
        await agent_for(server, tools=[look])(run)
    assert run.trace.stop_reason == "done"
    assert turns(run)[1].refusal == "The image data is not valid"
    assert turns(run)[1].extra["refusal_of_api"] == "invalid_image: The image data is not valid"
    async with ModelServer(lambda _: refused) as server:
        with pytest.raises(ModelFault, match="not valid"):
            await agent_for(server)(asked())


@pytest.mark.parametrize(
    "refusal",
    [
        ApiError(400, "too long", "context_length_exceeded"),
        ApiError(400, "Your input exceeds the context window of this model."),
        ApiError(413, "the request is too large"),
    ],
)
async def test_a_prompt_the_model_cannot_hold_is_graded(
    agent_for: MakeAgent, refusal: ApiError
) -> None:
    async with ModelServer(lambda _: refusal) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, run.trace.stop_reason) == (None, "context_overflow")


async def test_results_are_left_out_when_the_conversation_is_too_long(
    agent_for: MakeAgent,
) -> None:
    def tell() -> MCPToolResult:
        """Tell."""
        return text_result("word " * 50)

    def rule(question: Question) -> Say | ApiError:
        if question.prompt_tokens > 120:
            return ApiError(400, "too long", "context_length_exceeded")
        return Say(str(question.turn), calls=[Call("tell")] if question.turn < 5 else [])

    async with ModelServer(rule) as server:
        run = asked()
        agent = agent_for(server, tools=[tell], on_context_overflow="trim", max_steps=-1)
        await agent(run)
    assert (run.trace.content, run.trace.stop_reason) == ("5", "done")
    bodies = [request.body for request in server.requests]
    trimmed = [at for at, body in enumerate(bodies) if "left out" in json.dumps(body)]
    assert trimmed and all("previous_response_id" not in bodies[at] for at in trimmed)
    assert "previous_response_id" in bodies[trimmed[0] + 1]


async def test_a_client_of_ones_own_is_used(agent_for: MakeAgent) -> None:
    async with ModelServer(letter_count) as server:
        agent, url = OpenAIAgent(), server.base_url("responses")
        async with AsyncOpenAI(base_url=url, api_key="own-client-key") as client:
            agent.openai_client = client
            assert agent.openai_client is client
            run = asked()
            await agent(run)
    assert run.trace.content == "3"
    assert server.requests[0].headers["authorization"] == "Bearer own-client-key"


async def test_only_the_gateway_is_told_the_trace(
    agent_for: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ModelServer(letter_count) as server:
        run, other = asked(), asked()
        run.trace.trace_id = other.trace.trace_id = "0123456789abcdef0123456789abcdef"
        await agent_for(server)(other)
        monkeypatch.delenv("OPENAI_BASE_URL")
        monkeypatch.delenv("OPENAI_API_KEY")
        monkeypatch.setenv("HUD_GATEWAY_URL", server.gateway_url)
        monkeypatch.setenv("HUD_API_KEY", KEY)
        await OpenAIAgent()(run)
    direct, through = server.requests
    assert through.headers["trace-id"] == run.trace.trace_id
    assert through.path.startswith("/inference/")
    assert "trace-id" not in direct.headers


async def test_a_hundred_runs_at_once_are_all_answered(agent_for: MakeAgent) -> None:
    def rule(question: Question) -> Say:
        if question.turn == 0:
            return Say(calls=[Call("double", {"n": len(question.prompt_text)})])
        return Say(question.last_results[0].text)

    async with ModelServer(rule, latency_s=(0.0, 0.02)) as server:
        agent = agent_for(server, tools=[double])
        runs = [asked("x" * (index + 1)) for index in range(100)]
        async with asyncio.timeout(120):
            await asyncio.gather(*(agent(run) for run in runs))
    assert [run.trace.content for run in runs] == [str(2 * n) for n in range(1, 101)]


async def test_a_run_cancelled_in_the_middle_leaves_what_it_did(agent_for: MakeAgent) -> None:
    waiting = asyncio.Event()
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def rule(question: Question) -> Any:
        if question.turn == 0:
            return Say(calls=[Call("double", {"n": 1})])
        waiting.set()
        return never

    async with ModelServer(rule) as server:
        run = asked()
        task = asyncio.create_task(agent_for(server, tools=[double])(run))
        async with asyncio.timeout(60):
            await waiting.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        never.cancel()
    assert results(run) == ["2"]


async def test_a_model_that_asks_back_is_told_to_go_on(agent_for: MakeAgent) -> None:
    def rule(question: Question) -> str:
        if "CONTINUE" in question.system:
            return "CONTINUE" if "Shall I" in question.prompt_text else "STOP"
        return "3" if "Go on" in question.prompt_text else "Shall I count?"

    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, auto_respond=True)(run)
    assert run.trace.content == "3"
    again = server.requests[2].body
    assert again["previous_response_id"] == turns(run)[0].extra["response_id"]
    assert [item["role"] for item in again["input"]] == ["user"]
