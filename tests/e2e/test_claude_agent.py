"""The Messages API agent: the real SDK against a local server, through real environments."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from hud import Environment, LocalRuntime, Run
from hud._core.errors import AgentFault, InputError, ModelFault
from hud.agents import anthropic_sdk
from hud.agents.claude import ClaudeAgent
from hud.agents.messages_format import LEFT_OUT, REFUSED
from hud.agents.types import ClaudeConfig, HostedTool
from hud.clients.connect import connect
from hud.models.endpoint import Endpoint
from hud.testing import check_agent
from hud.testing.model_server import (
    ApiError,
    Call,
    Citation,
    ModelServer,
    Say,
    letter_count,
    script,
)
from tests.e2e.asking_models import KEY, PNG, asked, bare, tool_steps, turns
from tests.e2e.claude_agents import add, agent_for, ended, fault_of, part, server_results, streamed
from tests.needs import need_module

__all__ = ["bare"]


# -- A turn ----------------------------------------------------------------------------------------


async def test_a_turn_is_asked_recorded_and_graded() -> None:
    env = Environment(name="letters")

    @env.template()
    async def count(word: str) -> AsyncGenerator[Any, Any]:
        answer = yield f"How many 'r's are in '{word}'?"
        yield 1.0 if answer == "3" else 0.0

    reply = Say("3", prompt_tokens=11, completion_tokens=2, cached_tokens=7)
    async with ModelServer(lambda question: reply) as server, LocalRuntime(env) as runtime:
        agent = agent_for(server, model="claude-sonnet-4-6", system_prompt="Answer briefly.")
        task = count("strawberry")
        async with runtime(task) as place, connect(place) as client:
            run = Run(client, task.id, task.args)
            await run.start()
            await agent(run)
            await run.finish()
    mark = {"cache_control": {"type": "ephemeral"}}
    said = {"type": "text", "text": "How many 'r's are in 'strawberry'?", **mark}
    assert server.requests[0].body == {
        "model": "claude-sonnet-4-6",
        "max_tokens": 16384,
        "stream": True,
        "system": [{"type": "text", "text": "Answer briefly.", **mark}],
        "messages": [{"role": "user", "content": [said]}],
    }
    assert (run.trace.content, run.trace.stop_reason, run.grade.reward) == ("3", "done", 1.0)
    (step,) = turns(run)
    assert (step.finish_reason, step.model, step.done) == ("stop", "claude-sonnet-4-6", True)
    usage = run.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (11, 2, 7)


async def test_the_agent_keeps_the_contract() -> None:
    async with ModelServer(lambda question: question.prompt_text[-20:]) as server:
        await check_agent(lambda: agent_for(server))


async def test_tokens_read_from_and_written_to_the_cache_count_as_prompt() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 100,
        "output_tokens": 20,
    }
    told = [{**event, "usage": usage} if "usage" in event else event for event in ended("end_turn")]
    reply = streamed(*part(0, {"type": "text", "text": "x"}), *told)
    async with ModelServer(lambda question: reply) as server:
        run = asked()
        await agent_for(server)(run)
    spent = turns(run)[0].usage
    assert spent is not None
    assert (spent.prompt_tokens, spent.cached_tokens, spent.cache_write_tokens) == (1110, 1000, 100)
    assert spent.completion_tokens == 20


async def test_parallel_calls_over_several_turns_reach_their_tools_and_come_back() -> None:
    rule = script(
        Say(
            "first",
            calls=[Call("add", {"one": 1, "two": 2}), Call("add", {"one": 3, "two": 4})],
            reasoning="think",
        ),
        lambda question: Say(calls=[Call("add", {"one": 5, "two": 6})], reasoning="more"),
        lambda question: Say("".join(result.text for result in question.last_results)),
    )
    async with ModelServer(rule) as server:
        agent = agent_for(server, tools=[add], thinking={"type": "enabled", "budget_tokens": 2000})
        run = asked()
        await agent(run)
    assert run.trace.content == "11"
    assert [result.text for result in server_results(server, 1)] == ["3", "7"]
    assert [step.reasoning for step in turns(run)] == ["think", "more", None]
    assert [step.finish_reason for step in turns(run)] == ["tool_calls", "tool_calls", "stop"]
    echo = server.requests[2].body["messages"][1]["content"]
    assert [each["type"] for each in echo] == ["thinking", "text", "tool_use", "tool_use"]
    assert echo[0]["signature"]


async def test_the_conversation_is_marked_to_be_cached_up_to_the_last_two_turns() -> None:
    calls = [Say(calls=[Call("add", {"one": n, "two": n})]) for n in range(3)]
    async with ModelServer(script(*calls, Say("done"))) as server:
        await agent_for(server, tools=[add], system_prompt="s")(asked())
    body = server.requests[-1].body
    marks = [
        at
        for at, message in enumerate(body["messages"])
        if any("cache_control" in each for each in message["content"])
    ]
    assert marks == [4, 6]
    assert "cache_control" in body["system"][-1]
    assert "cache_control" in body["tools"][-1]
    assert json.dumps(body).count("cache_control") == 4


async def test_arguments_that_are_no_object_are_told_back_and_the_history_is_taken() -> None:
    rule = script(
        Say(calls=[Call("add", '{"one": 1, "two": '), Call("add", "[1]"), Call("add", {})]),
        lambda question: "\n".join(result.text for result in question.last_results),
    )
    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, tools=[add])(run)
    first = turns(run)[0]
    assert [call.arguments for call in first.tool_calls] == ['{"one": 1, "two": ', "[1]", {}]
    assert (run.trace.content or "").count("no JSON object") == 2
    assert [step.result.isError for step in tool_steps(run) if step.result] == [True, True, True]
    assert server.requests[1].body["messages"][1]["content"][0]["input"] == {
        "malformed": '{"one": 1, "two": '
    }


async def test_a_call_cut_by_the_token_limit_is_not_carried_out_as_a_shorter_one() -> None:
    begun: dict[str, Any] = {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
    cut = {"type": "input_json_delta", "partial_json": '{"one": 1, "two": 2, "thr'}
    replies = [Say("done"), streamed(*part(0, begun, cut), *ended("max_tokens"))]
    async with ModelServer(lambda question: replies.pop()) as server:
        run = asked()
        await agent_for(server, tools=[add])(run)
    (step,) = tool_steps(run)
    assert step.result is not None
    assert step.result.isError
    assert run.trace.content == "done"


async def test_pictures_in_prompts_and_results_reach_the_model() -> None:
    png = {"type": "image", "data": PNG, "mimeType": "image/png"}
    prompt = [
        {"role": "user", "content": "look"},
        {"role": "user", "content": png},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "again"},
    ]

    def picture() -> Any:
        from hud.agents.tools import image_result

        return image_result(base64.b64decode(PNG), "image/png", "there")

    rule = script(
        # the prompt has a turn of the model already
        lambda question: Say("no such turn"),
        Say(calls=[Call("picture")]),
        lambda question: Say(
            f"{len(question.turns[0].images)} {len(question.last_results[0].images)}"
        ),
    )
    async with ModelServer(rule) as server:
        run = asked(prompt)
        await agent_for(server, tools=[picture])(run)
    assert run.trace.content == "1 1"
    assert [message["role"] for message in server.requests[0].body["messages"]] == [
        "user", "assistant", "user",
    ]  # fmt: skip


async def test_a_picture_of_a_tool_that_is_too_large_is_made_smaller() -> None:
    need_module("PIL")
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (7680, 4320), "red").save(out, "PNG")

    def screenshot() -> Any:
        from hud.agents.tools import image_result

        return image_result(out.getvalue(), "image/png")

    rule = script(
        Say(calls=[Call("screenshot")]),
        lambda question: Say(
            str(Image.open(io.BytesIO(question.last_results[0].images[0].data)).size)
        ),
    )
    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, tools=[screenshot])(run)
    assert run.trace.content == "(2000, 1125)"


async def test_without_the_pictures_the_api_refuses_the_run_goes_on() -> None:
    def picture() -> Any:
        from hud.agents.tools import image_result

        return image_result(base64.b64decode(PNG), "image/png", "there")

    refused = ApiError(400, "messages.2.content.0.image.source.base64: Could not process image")
    replies: list[Any] = [Say("done"), refused, Say(calls=[Call("picture")])]
    async with ModelServer(lambda question: replies.pop()) as server:
        run = asked()
        await agent_for(server, tools=[picture])(run)
    assert run.trace.content == "done"
    sent = server.requests[2].body["messages"][2]["content"][0]["content"]
    assert [each["text"] for each in sent] == ["there", REFUSED]
    assert isinstance(await fault_of(refused), ModelFault)


async def test_a_picture_of_the_prompt_that_is_none_is_not_the_models_fault() -> None:
    png = {"type": "image", "data": "aGV5", "mimeType": "image/png"}
    async with ModelServer(lambda question: "x") as server:
        with pytest.raises(AgentFault, match="a picture of the prompt cannot be sent"):
            await agent_for(server)(asked([{"role": "user", "content": png}]))
    assert server.requests == []


async def test_the_newest_pictures_stay() -> None:
    def picture() -> Any:
        from hud.agents.tools import image_result

        return image_result(base64.b64decode(PNG), "image/png")

    looks = [Say(calls=[Call("picture"), Call("picture")]) for _ in range(3)]
    async with ModelServer(script(*looks, Say("done"))) as server:
        await agent_for(server, tools=[picture], max_tool_result_images=3)(asked())
    sent = [
        each["content"][0]["type"]
        for message in server.requests[-1].body["messages"]
        for each in message["content"]
        if each["type"] == "tool_result"
    ]
    assert sent == ["text", "text", "text", "image", "image", "image"]


async def test_documents_are_cited_where_that_is_wanted() -> None:
    document = {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}}
    said = {
        "type": "char_location",
        "cited_text": "inside",
        "document_index": 0,
        "document_title": "file:///a",
        "start_char_index": 0,
        "end_char_index": 6,
    }
    reply = streamed(
        *part(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "It is "}),
        *part(
            1,
            {"type": "text", "text": "", "citations": []},
            {"type": "text_delta", "text": "inside"},
            {"type": "citations_delta", "citation": said},
        ),
        *ended("end_turn"),
    )
    async with ModelServer(lambda question: reply) as server:
        run = asked([{"role": "user", "content": document}])
        await agent_for(server, citations_enabled=True)(run)
    (sent,) = server.requests[0].body["messages"][0]["content"]
    assert sent["citations"] == {"enabled": True}
    assert run.trace.content == "It is inside"
    (citation,) = turns(run)[0].citations
    assert (citation.text, citation.source) == ("inside", "file:///a")
    assert (citation.start_index, citation.end_index) == (6, 12)


async def test_sources_of_a_web_search_are_citations() -> None:
    reply = Say("Yes.", citations=[Citation("https://a.example", "A", "yes")])
    search = HostedTool(spec={"type": "web_search_20250305", "name": "web_search"})
    async with ModelServer(lambda question: reply) as server:
        run = asked()
        await agent_for(server, hosted_tools=[search])(run)
    (citation,) = turns(run)[0].citations
    assert (citation.source, citation.title, citation.text) == ("https://a.example", "A", "yes")
    assert server.requests[0].body["tools"][-1]["type"] == "web_search_20250305"


# -- How a turn ends -------------------------------------------------------------------------------


async def test_an_empty_answer_is_an_answer() -> None:
    async with ModelServer(lambda question: Say("")) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, run.trace.stop_reason) == ("", "done")


async def test_a_refusal_is_an_answer() -> None:
    async with ModelServer(lambda question: Say("", refusal="I will not")) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, run.trace.stop_reason) == ("", "done")
    assert (turns(run)[0].refusal, turns(run)[0].finish_reason) == ("I will not", "refusal")


async def test_a_cut_answer_is_graded_and_says_so() -> None:
    async with ModelServer(lambda question: Say("It is th", finish="length")) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, run.trace.stop_reason) == ("It is th", "length")


async def test_a_paused_turn_goes_on_within_its_step() -> None:
    replies = [Say("over"), Say("half ", finish="pause_turn", reasoning="a")]
    async with ModelServer(lambda question: replies.pop()) as server:
        run = asked()
        await agent_for(server)(run)
    (step,) = turns(run)
    assert (step.content, step.reasoning, step.finish_reason) == ("half over", "a", "stop")
    assert (step.usage and step.usage.llm_call_count) == 2
    assert [each["role"] for each in server.requests[1].body["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(
    "refusal",
    [
        ApiError(400, "prompt is too long: 205000 tokens > 200000 maximum"),
        ApiError(400, "input length and `max_tokens` exceed context limit: 190 + 16 > 200"),
        ApiError(413, "Request exceeds the maximum size"),
        ApiError(400, "Too much media: 0 document pages + 102 images > 100"),
        Say("so far", finish="model_context_window_exceeded"),
    ],
)
async def test_a_conversation_the_model_cannot_hold_is_graded(refusal: Any) -> None:
    async with ModelServer(lambda question: refusal) as server:
        run = asked()
        await agent_for(server)(run)
    assert run.trace.stop_reason == "context_overflow"


@pytest.mark.parametrize(
    "refusal",
    [
        ApiError(400, "prompt is too long: 9 tokens > 8 maximum"),
        Say("so far", finish="model_context_window_exceeded"),
    ],
)
async def test_a_conversation_is_trimmed_where_that_is_wanted(refusal: Any) -> None:
    replies: list[Any] = [
        Say("done"), refusal, Say(calls=[Call("add", {"one": 3, "two": 4})]),
        Say(calls=[Call("add", {"one": 1, "two": 2})]),
    ]  # fmt: skip
    async with ModelServer(lambda question: replies.pop()) as server:
        run = asked()
        await agent_for(server, tools=[add], on_context_overflow="trim")(run)
    assert (run.trace.content, run.trace.stop_reason) == ("done", "done")
    first, second = (message["content"][0] for message in server.requests[3].body["messages"][2::2])
    assert (first["content"], second["content"][0]["text"]) == (LEFT_OUT, "7")


# -- Settings --------------------------------------------------------------------------------------


def test_without_a_key_anthropic_cannot_be_asked() -> None:
    with pytest.raises(InputError, match="no key for the Anthropic API"):
        ClaudeAgent().check_ready()


def test_thinking_must_leave_room_for_an_answer() -> None:
    with pytest.raises(InputError, match="thinking may use 4000 tokens"):
        ClaudeAgent(ClaudeConfig(max_tokens=4000, thinking={"budget_tokens": 4000}))


async def test_settings_and_key_reach_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    thinking = {"type": "adaptive"}
    async with ModelServer(letter_count, api_key=KEY) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.base_url("messages") + "/v1")
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        agent = ClaudeAgent(ClaudeConfig(model="claude-opus-5", max_tokens=99, thinking=thinking))
        agent.check_ready()
        run = asked(max_tokens=77)
        await agent(run)
    body = server.requests[0].body
    assert (body["model"], body["max_tokens"], body["thinking"]) == ("claude-opus-5", 77, thinking)
    assert agent.name == "claude"
    assert KEY not in run.trace.model_dump_json() + json.dumps(agent.describe())


def sent_key(server: ModelServer) -> str:
    """Return the key that came with the last request: newer SDKs send it as a bearer's."""
    headers = server.requests[-1].headers
    return headers.get("x-api-key") or headers["authorization"].removeprefix("Bearer ")


async def test_only_the_gateway_is_told_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ModelServer(letter_count) as gateway, ModelServer(letter_count) as other:
        monkeypatch.setenv("HUD_GATEWAY_URL", gateway.gateway_url)
        monkeypatch.setenv("HUD_API_KEY", KEY)
        for config in (ClaudeConfig(), ClaudeConfig(base_url=other.base_url("messages"))):
            run = asked()
            run.trace.trace_id = "0123456789abcdef0123456789abcdef"
            await ClaudeAgent(config)(run)
    assert gateway.requests[0].headers["trace-id"] == "0123456789abcdef0123456789abcdef"
    assert KEY in sent_key(gateway)
    assert KEY not in sent_key(other)
    assert "trace-id" not in other.requests[0].headers


async def test_a_client_of_ones_own_is_used() -> None:
    async with ModelServer(letter_count) as server:
        url = server.base_url("messages")
        async with AsyncAnthropic(base_url=url, api_key="own-client-key") as client:
            agent = agent_for(server)
            agent.anthropic_client = client
            assert agent.anthropic_client is client
            await agent(asked())
            await ClaudeAgent(ClaudeConfig(model_client=client))(asked())
    assert len(server.requests) == 2
    assert sent_key(server) == "own-client-key"


async def test_a_model_of_bedrock_is_asked_there(monkeypatch: pytest.MonkeyPatch) -> None:
    model = "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-sonnet-4-6"
    agent = ClaudeAgent(ClaudeConfig(model=model))
    with pytest.raises(InputError, match="on Amazon Bedrock, and there is no key"):
        agent.check_ready()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    if importlib.util.find_spec("botocore") is None:
        with pytest.raises(InputError, match="needs the Python package boto3"):
            agent.check_ready()
        return
    agent.check_ready()
    client: Any = agent.anthropic_client
    assert type(client).__name__ == "AsyncAnthropicBedrock"
    assert (client.aws_access_key, client.aws_region) == ("an-id", "eu-west-1")


async def test_clients_for_bedrock_take_keys_or_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    address = "https://bedrock-runtime.eu-west-1.amazonaws.com"
    for variable in ("AWS_SECRET_ACCESS_KEY", anthropic_sdk.BEDROCK_TOKEN):
        endpoint = Endpoint(address, KEY, False, anthropic_sdk.BEDROCK, variable)
        client = anthropic_sdk.CLIENTS.make(endpoint)
        held = (client.aws_access_key, client.aws_secret_key, client.api_key)
        is_token = variable == anthropic_sdk.BEDROCK_TOKEN
        assert held == ((None, None, KEY) if is_token else ("an-id", KEY, None))
        assert (client.aws_region, str(client.base_url).rstrip("/")) == ("eu-west-1", address)
        await anthropic_sdk.CLIENTS.close(client)
