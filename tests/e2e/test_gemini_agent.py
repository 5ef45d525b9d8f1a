"""The Gemini agent: the real SDK against a real server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from google import genai
from google.genai import types

from hud._core.errors import AgentFault, ModelFault
from hud.agents import GeminiAgent, gemini_format
from hud.agents.run import Run
from hud.agents.tool_agent import RunState
from hud.agents.tools.base import image_result, text_result, tool_maker
from hud.agents.tools.function import FunctionTool
from hud.agents.types import GeminiConfig, HostedTool
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
from hud.trace.content import AudioContent, MCPToolCall, MCPToolResult
from tests.e2e.asking_models import KEY, PNG, asked, bare, results, turns
from tests.e2e.gemini_agents import MakeAgent, agent_for, reply, whole

__all__ = ["agent_for", "bare"]


async def double(n: int) -> int:
    """Double a number."""
    return 2 * n


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
            system_prompt="Answer briefly.",
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            max_output_tokens=99,
            thinking_level="low",
        )
        task = count("strawberry")
        async with runtime(task) as place, connect(place) as client:
            run = Run(client, task.id, task.args)
            await run.start()
            await agent(run)
            await run.finish()
    (request,) = server.requests
    assert request.path == "/v1beta/models/gemini-3.1-pro-preview:generateContent"
    assert request.headers["x-goog-api-key"] == KEY
    assert request.body == {
        "contents": [{"role": "user", "parts": [{"text": "How many 'r's are in 'strawberry'?"}]}],
        "systemInstruction": {"parts": [{"text": "Answer briefly."}]},
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 40,
            "maxOutputTokens": 99,
            "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
        },
    }
    assert (run.trace.content, run.trace.stop_reason, run.grade.reward) == ("3", "done", 1.0)
    (step,) = turns(run)
    assert (step.content, step.reasoning, step.finish_reason, step.model, step.done) == (
        "3", "r, rr", "stop", "gemini-3.1-pro-preview", True,
    )  # fmt: skip
    usage = run.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (11, 5, 7)
    assert step.started_at is not None and step.started_at <= (step.ended_at or "")


async def test_the_agent_keeps_the_contract(agent_for: MakeAgent) -> None:
    async with ModelServer(lambda question: question.prompt_text[-20:]) as server:
        await check_agent(lambda: agent_for(server))


async def test_settings_are_attributes_that_can_be_changed(agent_for: MakeAgent) -> None:
    async with ModelServer(lambda _: "x") as server:
        agent = agent_for(server, temperature=1, include_thoughts=False)
        assert (agent.temperature, agent.top_p) == (1, None)
        assert agent.max_recent_turn_with_screenshots == 3
        agent.temperature, agent.top_k = 0.25, 7
        await agent(asked(top_k=9))
        await agent(asked())
    first, second = (request.body["generationConfig"] for request in server.requests)
    assert first == {"temperature": 0.25, "topK": 9}
    assert second == {"temperature": 0.25, "topK": 7}


@pytest.mark.parametrize(
    ("model", "thinks"),
    [("gemini-2.5-flash", True), ("gemini-2.0-flash", False), ("of-my-own", True)],
)
async def test_thoughts_are_asked_of_models_that_think(
    model: str, thinks: bool, agent_for: MakeAgent
) -> None:
    async with ModelServer(lambda _: "x") as server:
        await agent_for(server, model=model)(asked())
    assert bool(server.requests[0].body["generationConfig"]) == thinks


async def test_turns_with_parallel_calls_go_back_as_they_came(agent_for: MakeAgent) -> None:
    rule = script(
        Say("look", reasoning="two", calls=[Call("double", {"n": 1}), Call("double", {"n": 2})]),
        Say(reasoning="once more", calls=[Call("double", {"n": 4})]),
        Say("8"),
    )
    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, tools=[double])(run)
    assert (run.trace.content, results(run)) == ("8", ["2", "4", "8"])
    first, _, third = (request.body for request in server.requests)
    (declared,) = first["tools"][0]["functionDeclarations"]
    assert (declared["name"], declared["description"]) == ("double", "Double a number.")
    assert declared["parametersJsonSchema"]["properties"]["n"]["type"] == "integer"
    roles = [content["role"] for content in third["contents"]]
    assert roles == ["user", "model", "user", "model", "user"]
    said, given = third["contents"][1]["parts"], third["contents"][2]["parts"]
    assert said[0] == {"text": "two", "thought": True}
    assert said[1] == {"text": "look"}
    assert said[2]["thoughtSignature"] and "thoughtSignature" not in said[3]
    assert [part["functionResponse"]["id"] for part in given] == [
        part["functionCall"]["id"] for part in said[2:]
    ]
    assert given[0]["functionResponse"]["name"] == "double"
    assert given[0]["functionResponse"]["response"] == {"output": "2"}
    assert [step.finish_reason for step in turns(run)] == ["tool_calls", "tool_calls", "stop"]
    assert turns(run)[0].reasoning == "two"


async def test_a_call_without_an_id_is_answered_without_one(agent_for: MakeAgent) -> None:
    call = {"functionCall": {"name": "double", "args": {"n": 1}}, "thoughtSignature": "c2lnbmVk"}

    def rule(question: Question) -> RawReply:
        return reply({"text": "2"} if question.turn else call)

    async with ModelServer(rule) as server:
        run = asked()
        agent = agent_for(server, tools=[double])
        with pytest.raises(ModelFault, match="signature is not valid"):
            await agent(run)  # which the server made none of, so it came back unchanged
    (_, request) = server.requests
    assert request.body["contents"][1]["parts"] == [call]
    (answer,) = request.body["contents"][2]["parts"]
    assert answer["functionResponse"] == {"name": "double", "response": {"output": "2"}}


async def test_a_prompt_of_messages_and_media_arrives_in_turns(agent_for: MakeAgent) -> None:
    png = {"type": "image", "data": PNG, "mimeType": "image/png"}
    wav = {"type": "audio", "data": "aGV5", "mimeType": "audio/wav"}
    file = {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}}
    paper = {
        "type": "resource",
        "resource": {"uri": "file:///b", "blob": "aGV5", "mimeType": "application/pdf"},
    }
    prompt = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "second"},
        *({"role": "user", "content": part} for part in (png, wav, file, paper)),
    ]
    async with ModelServer(lambda _: "seen") as server:
        await agent_for(server)(asked(prompt))
    assert server.requests[0].body["contents"] == [
        {"role": "user", "parts": [{"text": "first"}]},
        {"role": "model", "parts": [{"text": "second"}]},
        {
            "role": "user",
            "parts": [
                {"inlineData": {"mimeType": "image/png", "data": PNG}},
                {"inlineData": {"mimeType": "audio/wav", "data": "aGV5"}},
                {"text": "inside"},
                {"inlineData": {"mimeType": "application/pdf", "data": "aGV5"}},
            ],
        },
    ]


async def test_a_part_that_cannot_be_carried_is_named(agent_for: MakeAgent) -> None:
    link = {"type": "resource_link", "name": "a", "uri": "file:///a"}
    async with ModelServer(lambda _: "x") as server:
        with pytest.raises(AgentFault, match="resource_link"):
            await agent_for(server)(asked([{"role": "user", "content": link}]))
    assert server.requests == []


async def photograph() -> MCPToolResult:
    """Take a picture."""
    result = image_result(base64.b64decode(PNG), "image/png", "cheese")
    result.content.append(AudioContent(data="aGV5", mimeType="audio/wav"))
    return result


@pytest.mark.parametrize("model", ["gemini-3-flash-preview", "gemini-2.5-flash"])
async def test_pictures_of_results_stand_where_the_model_takes_them(
    model: str, agent_for: MakeAgent
) -> None:
    rule = script(Say(calls=[Call("photograph")]), Say("seen"))
    async with ModelServer(rule) as server:
        await agent_for(server, model=model, tools=[photograph])(asked())
    first, *others = server.requests[1].body["contents"][2]["parts"]
    held = first["functionResponse"]
    assert held["response"] == {"output": "cheese"}
    sound = [
        {"text": "From photograph:"},
        {"inlineData": {"mimeType": "audio/wav", "data": "aGV5"}},
    ]
    if model == "gemini-2.5-flash":
        assert "parts" not in held
        assert others[:2] == sound and others[2] == {"text": "Picture from photograph:"}
        pictures = others[3:]
    else:
        assert others == sound
        pictures = held["parts"]
    (picture,) = pictures
    assert picture["inlineData"]["mimeType"] == "image/png"


async def test_a_picture_the_api_cannot_read_is_left_out_and_said(agent_for: MakeAgent) -> None:
    def rule(question: Question) -> Any:
        if not question.turn:
            return Say(calls=[Call("photograph")])
        if any(result.images for result in question.last_results):
            return ApiError(400, "Unable to process input image. Please retry or report in …")
        return question.last_results[0].text

    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, model_retries=0, tools=[photograph])(run)
        assert run.trace.content is not None
        assert run.trace.content.startswith("cheese\n(a picture, left out because the API")
        picture = {"type": "image", "data": PNG, "mimeType": "image/png"}
        prompt = [{"role": "user", "content": picture}]
        server.rule = lambda _: ApiError(400, "Unable to process input image.")
        with pytest.raises(ModelFault, match="Unable to process input image"):
            await agent_for(server, model_retries=0)(asked(prompt))


async def test_names_the_api_does_not_take_are_spelled_otherwise(agent_for: MakeAgent) -> None:
    def made(run: Run, config: Any) -> FunctionTool:
        tool = FunctionTool(double)
        tool.name = "2/double it"
        return tool

    rule = script(Say(calls=[Call("_2_double_it", {"n": 2})]), Say("4"))
    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, tools=[tool_maker(made)])(run)
    assert results(run) == ["4"]
    assert turns(run)[0].tool_calls[0].name == "2/double it"
    answer = server.requests[1].body["contents"][2]["parts"][0]["functionResponse"]
    assert answer["name"] == "_2_double_it"


async def test_hosted_tools_are_declared_as_they_are(agent_for: MakeAgent) -> None:
    hosted = [
        HostedTool[Any](spec={"codeExecution": {}}),
        HostedTool[Any](spec=types.Tool(google_search=types.GoogleSearch())),
    ]
    async with ModelServer(lambda _: "x") as server:
        await agent_for(server, hosted_tools=hosted)(asked())
    assert server.requests[0].body["tools"] == [{"codeExecution": {}}, {"googleSearch": {}}]


async def test_a_call_the_api_could_not_read_goes_back_to_the_model(agent_for: MakeAgent) -> None:
    rule = script(
        Say(calls=[Call("double", 'print(default_api.double(n="')]),
        Say(calls=[Call("double", {"n": 2})]),
        Say("4"),
    )
    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, tools=[double])(run)
        stopped = asked()
        await agent_for(server, tools=[double], stop_on={"malformed_tool_call"})(stopped)
    assert (run.trace.content, run.trace.stop_reason) == ("4", "done")
    first = turns(run)[0]
    assert first.content is None and first.tool_calls[0].name == "double"
    assert first.tool_calls[0].arguments == 'print(default_api.double(n="'
    _, model, user = server.requests[1].body["contents"]
    assert model["parts"][0]["text"].startswith("Malformed function call: print(")
    assert user["parts"][0]["text"].startswith("Your function call could not be read. Error: the")
    assert stopped.trace.stop_reason == "malformed_tool_call"


async def test_arguments_that_are_no_object_are_understood_or_told(agent_for: MakeAgent) -> None:
    def rule(question: Question) -> Any:
        calls = [{"n": 2}, '{"n": 3}', "n=4", [5]]
        parts = [
            {"functionCall": {"name": "double", "args": args, "id": f"c{place}"}}
            for place, args in enumerate(calls)
        ]
        return "done" if question.turn else reply(*parts)

    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, tools=[double])(run)
    assert results(run)[:2] == ["4", "6"]
    assert all("no JSON object" in result for result in results(run)[2:])
    parts = server.requests[1].body["contents"][1]["parts"]
    sent = [part["functionCall"]["args"] for part in parts]
    assert sent == [{"n": 2}, {"n": 3}, {"malformed": "n=4"}, {"malformed": "[5]"}]


async def test_an_answer_that_is_withheld_half_way_calls_nothing(agent_for: MakeAgent) -> None:
    parts = [{"text": "I will"}, {"functionCall": {"name": "double", "args": {"n": 1}}}]
    async with ModelServer(lambda _: reply(*parts, finish="SAFETY")) as server:
        run = asked()
        await agent_for(server, tools=[double])(run)
    assert (run.trace.content, results(run)) == ("I will", [])


@pytest.mark.parametrize("parts", [[], [{"text": ""}], [{}], [{"text": "t", "thought": True}]])
async def test_an_empty_answer_is_an_answer(parts: Any, agent_for: MakeAgent) -> None:
    async with ModelServer(lambda _: reply(*parts)) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, run.trace.stop_reason) == ("", "done")


async def test_a_cut_answer_is_graded_and_says_so(agent_for: MakeAgent) -> None:
    async with ModelServer(lambda _: Say("It is th", finish="length")) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, run.trace.stop_reason) == ("It is th", "length")


async def test_an_answer_given_in_parts_is_one(agent_for: MakeAgent) -> None:
    def rule(question: Question) -> RawReply:
        token = question.body.get("continuationToken")
        usage = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
        part = {"text": "one " if token is None else "two"}
        said = {"content": {"role": "model", "parts": [part]}}
        more = {"finishReason": "CONTINUATION", "continuationToken": "more"}
        candidate = {**said, **(more if token is None else {"finishReason": "STOP"})}
        return whole({"candidates": [candidate], "usageMetadata": usage})

    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server)(run)
    (step,) = turns(run)
    assert (run.trace.content, step.finish_reason) == ("one two", "stop")
    assert step.usage is not None
    assert (step.usage.prompt_tokens, step.usage.completion_tokens) == (10, 4)
    assert len(server.requests) == 2


async def test_a_conversation_too_long_is_trimmed_from_its_oldest_results(
    agent_for: MakeAgent,
) -> None:
    async def recite(n: int) -> str:
        return "word " * 100

    def rule(question: Question) -> Any:
        if question.prompt_tokens > 350:
            return ApiError(400, "The input token count exceeds the maximum")
        return Say(calls=[Call("recite", {"n": question.turn})]) if question.turn < 6 else "done"

    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server, tools=[recite], on_context_overflow="trim")(run)
    assert (run.trace.content, run.trace.stop_reason) == ("done", "done")
    given = [
        part["functionResponse"]["response"]["output"]
        for content in server.requests[-1].body["contents"]
        for part in content["parts"]
        if "functionResponse" in part
    ]
    assert len(given) == 6 and given[0] == "(left out to make room)" != given[-1]


async def test_citations_name_sources_and_where_they_stand(agent_for: MakeAgent) -> None:
    support = {
        "segment": {"startIndex": 5, "endIndex": 14, "text": "Řeřicha", "partIndex": 1},
        "groundingChunkIndices": [0, 7],
    }
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}],
        "groundingSupports": [support],
    }
    quoted = {"citationSources": [{"uri": "https://b", "startIndex": 0, "endIndex": 2}]}
    parts = [{"text": "Hm. "}, {"text": "Ať: Řeřicha roste."}]
    answer = reply(*parts, groundingMetadata=grounding, citationMetadata=quoted)
    async with ModelServer(lambda _: answer) as server:
        run, plain = asked(), asked()
        await agent_for(server, citations_enabled=True)(run)
        await agent_for(server)(plain)
        server.rule = lambda _: Say("x", citations=[Citation("https://c", "C", "x", 0, 1)])
        third = asked()
        await agent_for(server, citations_enabled=True)(third)
    assert turns(plain)[0].citations == []
    first, second = turns(run)[0].citations
    text = turns(run)[0].content or ""
    assert text[first.start_index : first.end_index] == first.text == "Řeřicha"
    assert (first.type, first.source, first.title) == ("grounding", "https://a", "A")
    assert (second.type, second.source, second.start_index) == ("citation", "https://b", 0)
    (given,) = turns(third)[0].citations
    assert (given.source, given.title) == ("https://c", "C")
    assert (given.start_index, given.end_index) == (0, 1)


async def test_a_gateway_is_told_which_trace_a_call_belongs_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ModelServer(lambda _: "x") as server:
        monkeypatch.setenv("HUD_GATEWAY_URL", f"{server.gateway_url}/v1")
        monkeypatch.setenv("HUD_API_KEY", "hud-key")
        run = asked()
        run.trace.trace_id = "a1b2"
        await GeminiAgent()(run)
    (request,) = server.requests
    assert request.path == "/inference/v1beta/models/gemini-3.1-pro-preview:generateContent"
    assert request.headers["x-goog-api-key"] == "hud-key"
    assert request.headers["trace-id"] == "a1b2"


async def test_a_client_of_ones_own_is_used_and_left_open(agent_for: MakeAgent) -> None:
    async with ModelServer(letter_count) as server:
        options = types.HttpOptions(base_url=server.base_url("gemini"))
        client = genai.Client(api_key="of-my-own", http_options=options)
        agent = GeminiAgent()
        agent.gemini_client = client
        assert agent.gemini_client is client
        run = asked()
        await agent(run)
        second = asked()
        await GeminiAgent(GeminiConfig(model_client=client))(second)
        assert run.trace.content == second.trace.content == "3"
        assert server.requests[0].headers["x-goog-api-key"] == "of-my-own"
        await client.aio.models.generate_content(model="m", contents="How many 'r's are in 'a'?")
        await client.aio.aclose()
        client.close()


async def test_a_hundred_runs_share_an_agent(agent_for: MakeAgent) -> None:
    def rule(question: Question) -> Say | str:
        number = int(question.turns[0].text)
        calls = [Call("double", {"n": number + question.turn})]
        return Say(calls=calls) if question.turn < 2 else question.last_results[0].text

    async with ModelServer(rule, latency_s=(0.0, 0.02)) as server:
        agent = agent_for(server, tools=[double])
        runs = [asked(str(number)) for number in range(100)]
        await asyncio.gather(*(agent(run) for run in runs))
    assert [run.trace.content for run in runs] == [str(2 * (n + 1)) for n in range(100)]


async def test_a_conversation_grows_by_what_is_new() -> None:
    agent = GeminiAgent()
    state = RunState[dict[str, Any]](config=agent.config)
    state.messages = agent.format_prompt(asked().prompt_messages)
    body = agent._body(state, agent.config, None)  # pyright: ignore[reportPrivateUsage]
    assert body["contents"] is state.messages


def test_results_without_anything_are_said_to_be_empty() -> None:
    calls = [MCPToolCall(name="a", id="1"), MCPToolCall(name="b", id="2")]
    made = gemini_format.results(
        calls, [MCPToolResult(content=[]), text_result("no", is_error=True)]
    )
    said = [part["functionResponse"]["response"] for part in made["parts"]]
    assert said == [{"output": "(no output)"}, {"error": "no"}]
