"""Claude behind Chat Completions, asked with OpenAI's SDK: what judges do."""

from __future__ import annotations

import base64
import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from hud.graders import LLMJudgeGrader
from hud.testing.model_server import ApiError, Call, ModelServer, Question, Say
from tests.platform.gateway.gatewayed import PROVIDER_KEY, Gatewayed

MODEL = "claude-haiku-4-5"
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n and what follows").decode()
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look at a thing.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}


def client_of(platform: Gatewayed) -> Any:
    return AsyncOpenAI(base_url=platform.url, api_key=platform.key, max_retries=0)


def add(platform: Gatewayed, server: ModelServer) -> None:
    platform.add("anthropic", "anthropic", server.base_url("messages"))


async def test_a_judge_gets_its_verdict_from_claude(
    platform: Gatewayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = json.dumps({"criterion_status": "MET", "explanation": "It says so."})
    async with ModelServer(lambda question: verdict, api_key=PROVIDER_KEY) as server:
        add(platform, server)
        monkeypatch.setenv("HUD_GATEWAY_URL", platform.url)
        monkeypatch.setenv("HUD_API_KEY", platform.key)
        score = await LLMJudgeGrader.compute_score(
            answer="42", criteria=["says a number"], question="?", model=MODEL
        )
        [request] = server.requests
        [row] = await platform.rows()
    assert score.value == 1.0
    assert request.body["max_tokens"] == 1024
    assert request.headers["x-api-key"] == PROVIDER_KEY
    assert (row["model"], row["dialect"], row["status"]) == (MODEL, "chat", 200)
    assert row["cost_usd"] > 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_conversation_with_tools_and_pictures_goes_there_and_back(
    platform: Gatewayed, stream: bool
) -> None:
    asked: list[Question] = []

    def rule(question: Question) -> Say:
        asked.append(question)
        if question.turn == 0:
            calls = [Call("look", {"at": "door"}), Call("look", {})]
            return Say("Let me see.", calls=calls, prompt_tokens=30, completion_tokens=5)
        return Say("A door.", prompt_tokens=50, completion_tokens=3, cached_tokens=20)

    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]},
    ]
    async with ModelServer(rule, api_key=PROVIDER_KEY) as server, client_of(platform) as client:
        add(platform, server)
        first = await said(client, stream, messages)
        spoken = {"content": first["content"], "tool_calls": first["calls"]}
        messages.append({"role": "assistant", **spoken})
        for call in first["calls"]:
            picture = [{"type": "text", "text": "seen"}, image]
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": picture})
        messages.append({"role": "user", "content": "Well?"})
        second = await said(client, stream, messages)
        rows = await platform.rows()
    assert first["content"] == "Let me see."
    assert [call["function"]["name"] for call in first["calls"]] == ["look", "look"]
    arguments = [json.loads(call["function"]["arguments"]) for call in first["calls"]]
    assert arguments == [{"at": "door"}, {}]
    assert (first["finish"], second["finish"]) == ("tool_calls", "stop")
    assert second["content"] == "A door."
    assert second["usage"].prompt_tokens == 50
    assert second["usage"].prompt_tokens_details.cached_tokens == 20
    later = asked[1]
    assert later.system == "Be brief."
    assert [result.text for result in later.last_results] == ["seen", "seen"]
    assert all(len(result.images) == 1 for result in later.last_results)
    assert later.turns[-1].text == "Well?"
    assert len(later.turns[0].images) == 1
    assert later.tool("look") is not None
    assert [(row["prompt_tokens"], row["completion_tokens"]) for row in rows] == [(30, 5), (50, 3)]


async def said(client: Any, stream: bool, messages: list[Any]) -> dict[str, Any]:
    """Return one answer in one shape, streamed or not."""
    asking: dict[str, Any] = {"model": MODEL, "messages": messages, "tools": [TOOL]}
    if not stream:
        reply = await client.chat.completions.create(**asking)
        [choice] = reply.choices
        made: list[Any] = choice.message.tool_calls or []
        calls = [call.model_dump() for call in made]
        content, finish, usage = choice.message.content, choice.finish_reason, reply.usage
        return {"content": content, "calls": calls, "finish": finish, "usage": usage}
    told: dict[str, Any] = {"content": "", "calls": [], "finish": None, "usage": None}
    options = {"include_usage": True}
    streaming = await client.chat.completions.create(**asking, stream=True, stream_options=options)
    async for event in streaming:
        told["usage"] = event.usage or told["usage"]
        for choice in event.choices:
            told["content"] += choice.delta.content or ""
            told["finish"] = choice.finish_reason or told["finish"]
            pieces: list[Any] = choice.delta.tool_calls or []
            for piece in pieces:
                if piece.index == len(told["calls"]):
                    function = {"name": piece.function.name, "arguments": ""}
                    told["calls"].append({"id": piece.id, "type": "function", "function": function})
                told["calls"][piece.index]["function"]["arguments"] += piece.function.arguments
    return told


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_thoughts_are_told_and_may_be_given_back_with_their_seal(
    platform: Gatewayed, stream: bool
) -> None:
    asked: list[Question] = []

    def rule(question: Question) -> Say:
        asked.append(question)
        return Say("Yes.", reasoning="Is it so? It is.")

    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    messages: list[Any] = [{"role": "user", "content": "Is it?"}]
    asking: dict[str, Any] = {"model": MODEL, "extra_body": thinking}
    async with ModelServer(rule, api_key=PROVIDER_KEY) as server, client_of(platform) as client:
        add(platform, server)
        if stream:
            streaming = await client.chat.completions.create(
                **asking, messages=messages, stream=True
            )
            deltas: list[Any] = [event.choices[0].delta async for event in streaming]
            thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
            [details] = [found for d in deltas if (found := getattr(d, "reasoning_details", None))]
        else:
            reply = await client.chat.completions.create(**asking, messages=messages)
            message = reply.choices[0].message
            thought, details = message.reasoning_content, message.reasoning_details
        given = {"role": "assistant", "content": "Yes.", "reasoning_details": details}
        again = [*messages, given, {"role": "user", "content": "Sure?"}]
        await client.chat.completions.create(**asking, messages=again)
    assert thought == "Is it so? It is."
    assert asked[1].turns[1].reasoning == "Is it so? It is."


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_error_of_claude_is_one_of_chat_completions(
    platform: Gatewayed, stream: bool
) -> None:
    error = ApiError(400, "prompt is too long: 300000 tokens > 200000 maximum")
    async with ModelServer(lambda question: error) as server, client_of(platform) as client:
        add(platform, server)
        with pytest.raises(openai.BadRequestError, match="prompt is too long") as caught:
            await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "x"}], stream=stream
            )
        [row] = await platform.rows()
    assert caught.value.code == "invalid_request_error"
    assert (row["status"], row["prompt_tokens"]) == (400, 0)
    assert "prompt is too long" in row["error"]


async def test_an_error_in_the_middle_of_a_stream_ends_it_with_an_error(
    platform: Gatewayed,
) -> None:
    error = ApiError(529, "Overloaded", after_events=3)
    async with ModelServer(lambda question: error) as server, client_of(platform) as client:
        add(platform, server)
        streaming = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True
        )
        with pytest.raises(openai.APIError, match="Overloaded"):
            async for _ in streaming:
                pass


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"n": 2}, "n: "),
        ({"messages": []}, "messages: "),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
        ({"messages": "x"}, "messages: "),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"tools": ["x"]}, "tools.0"),
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"reasoning_effort": "utmost"}, "reasoning_effort"),
    ],
)
async def test_what_claude_cannot_do_is_refused_by_name(
    platform: Gatewayed, changes: dict[str, Any], word: str
) -> None:
    async with ModelServer(lambda question: "x") as server:
        add(platform, server)
        body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
        async with platform.http() as client:
            reply = await client.post("/chat/completions", json={**body, **changes})
        assert server.requests == []
    assert reply.status_code == 400
    assert word in reply.json()["error"]["message"]


async def test_choices_limits_and_shapes_are_translated(platform: Gatewayed) -> None:
    async with ModelServer(lambda question: "{}") as server, client_of(platform) as client:
        add(platform, server)
        schema: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
        await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "developer", "content": "Sys."}, {"role": "user", "content": "x"}],
            tools=[TOOL],
            tool_choice={"type": "function", "function": {"name": "look"}},
            parallel_tool_calls=False,
            stop="END",
            temperature=1.7,
            max_completion_tokens=77,
            reasoning_effort="low",
            user="me",
            response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
        )
        body = server.requests[0].body
    assert body["tool_choice"] == {
        "type": "tool",
        "name": "look",
        "disable_parallel_tool_use": True,
    }
    assert body["stop_sequences"] == ["END"]
    assert (body["temperature"], body["max_tokens"]) == (1.0, 77)
    assert body["output_config"] == {
        "format": {"type": "json_schema", "schema": schema},
        "effort": "low",
    }
    assert body["metadata"] == {"user_id": "me"}
    assert body["system"] == [{"type": "text", "text": "Sys."}]


async def test_without_a_limit_claude_gets_one(platform: Gatewayed) -> None:
    async with ModelServer(lambda question: "x") as server, client_of(platform) as client:
        add(platform, server)
        messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]
        messages.append({"role": "user", "content": "y"})
        await client.chat.completions.create(model=MODEL, messages=messages)
        body = server.requests[0].body
    assert body["max_tokens"] == 16_384
    assert "system" not in body
