"""The Gemini API as the official SDK sees it."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from google.genai import Client, types
from google.genai.errors import APIError, ClientError, ServerError

from hud.models.provider import Dialect
from hud.testing.model_server import (
    ApiError,
    Call,
    Citation,
    HangUp,
    ModelServer,
    Question,
    Say,
    script,
)

ASK = "How many 'r's are in 'strawberry'?"
CONFIG = types.GenerateContentConfig(
    system_instruction="Be brief.",
    tools=[
        types.Tool(
            function_declarations=[
                types.FunctionDeclaration(name="add", parameters_json_schema={"type": "object"})
            ]
        ),
        types.Tool(
            computer_use=types.ComputerUse(environment=types.Environment.ENVIRONMENT_BROWSER)
        ),
    ],
)
PNG = b"\x89PNG\r\n\x1a\n\xfb\xff"


def user(*parts: types.Part) -> types.Content:
    return types.Content(role="user", parts=list(parts))


def parts_of(reply: types.GenerateContentResponse) -> list[types.Part]:
    assert reply.candidates and reply.candidates[0].content
    return reply.candidates[0].content.parts or []


async def test_a_text_and_its_tokens_arrive(google: Client, server: ModelServer) -> None:
    cited = [Citation("https://a.example", "A")]
    server.rule = lambda question: Say("3", cached_tokens=2, citations=cited)
    reply = await google.aio.models.generate_content(model="m", contents=ASK, config=CONFIG)
    assert reply.text == "3" and reply.candidates is not None
    assert reply.candidates[0].finish_reason is types.FinishReason.STOP
    grounding = reply.candidates[0].grounding_metadata
    assert grounding is not None and grounding.grounding_chunks is not None
    assert reply.usage_metadata is not None
    usage = reply.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count) == (8, 1)
    assert usage.cached_content_token_count == 2
    (request,) = server.requests
    assert (request.dialect, request.model) == (Dialect.GEMINI, "m")
    assert request.path.endswith("/models/m:generateContent")
    assert request.headers["x-goog-api-key"] == "any"


async def streamed(
    google: Client, asked: Any = ASK, config: types.GenerateContentConfig | None = None
) -> list[types.GenerateContentResponse]:
    stream = await google.aio.models.generate_content_stream(
        model="m", contents=asked, config=config
    )
    return [chunk async for chunk in stream]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_thoughts_and_functions_go_round(
    google: Client, server: ModelServer, is_streamed: bool
) -> None:
    seen: list[Question] = []

    def end(question: Question) -> Say:
        seen.append(question)
        return Say("done")

    calls = [Call("add", {"a": 2}), Call("click_at", {"x": 1, "y": 2})]
    server.rule = script(Say("Adding now.", calls, "two and three"), end)
    image = types.Part.from_bytes(data=PNG, mime_type="image/png")
    asked: list[Any] = [user(types.Part(text=ASK), image)]
    if is_streamed:
        chunks = await streamed(google, asked, CONFIG)
        last = chunks[-1]
        assert last.candidates and last.candidates[0].finish_reason is types.FinishReason.STOP
        parts = [part for chunk in chunks for part in parts_of(chunk) if part.text != ""]
    else:
        reply = await google.aio.models.generate_content(model="m", contents=asked, config=CONFIG)
        parts = parts_of(reply)
        assert reply.text == "Adding now."
        assert reply.usage_metadata is not None
        assert reply.usage_metadata.thoughts_token_count == 3
    thoughts = "".join(part.text or "" for part in parts if part.thought)
    assert thoughts == "two and three"
    called = [part.function_call for part in parts if part.function_call]
    assert [(call.name, call.args) for call in called] == [
        ("add", {"a": 2}),
        ("click_at", {"x": 1, "y": 2}),
    ]
    assert [part.thought_signature is not None for part in parts if part.function_call] == [
        True,
        False,
    ]
    screen = types.FunctionResponsePart(
        inline_data=types.FunctionResponseBlob(mime_type="image/png", data=PNG)
    )
    results = [
        types.FunctionResponse(id=called[0].id, name="add", response={"error": "bad"}),
        types.FunctionResponse(name="click_at", response={"url": "http://a"}, parts=[screen]),
    ]
    asked.append(types.Content(role="model", parts=parts))
    asked.append(user(*(types.Part(function_response=each) for each in results)))
    await google.aio.models.generate_content(model="m", contents=asked, config=CONFIG)
    (question,) = seen
    assert question.system == "Be brief."
    assert question.turns[0].images[0].data == PNG
    assert sorted(tool.kind for tool in question.tools) == ["computer_use", "function"]
    given = question.last_results
    assert [(each.name, each.text, each.is_error) for each in given] == [
        ("add", "bad", True),
        ("click_at", '{"url":"http://a"}', False),
    ]
    assert given[1].images[0].data == PNG
    first = next(part for part in parts if part.function_call)
    first.thought_signature = None
    with pytest.raises(ClientError, match="missing a thought_signature"):
        await google.aio.models.generate_content(model="m", contents=asked, config=CONFIG)
    first.thought_signature = b"forged"
    with pytest.raises(ClientError, match="signature is not valid"):
        await google.aio.models.generate_content(model="m", contents=asked, config=CONFIG)


async def test_a_text_is_streamed_in_pieces(google: Client, server: ModelServer) -> None:
    server.rule = lambda question: Say("three  of\nthem", finish="length")
    chunks = await streamed(google)
    assert "".join(chunk.text or "" for chunk in chunks) == "three  of\nthem"
    assert len(chunks) == 4
    last = chunks[-1]
    assert last.candidates and last.candidates[0].finish_reason is types.FinishReason.MAX_TOKENS
    assert last.usage_metadata is not None and last.usage_metadata.total_token_count == 9


async def test_malformed_arguments_and_refusals_are_ways_to_finish(
    google: Client, server: ModelServer
) -> None:
    server.rule = lambda question: Say(calls=[Call("add", "{not json")])
    reply = await google.aio.models.generate_content(model="m", contents=ASK)
    assert reply.candidates is not None
    candidate = reply.candidates[0]
    assert candidate.finish_reason is types.FinishReason.MALFORMED_FUNCTION_CALL
    server.rule = lambda question: Say(None, refusal="I will not")
    reply = await google.aio.models.generate_content(model="m", contents=ASK)
    assert reply.candidates is not None
    assert reply.candidates[0].finish_reason is types.FinishReason.SAFETY


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (ApiError(401, "no"), ClientError, "UNAUTHENTICATED"),
        (ApiError(429, "slow", headers={"Retry-After": "3"}), ClientError, "RESOURCE_EXHAUSTED"),
        (ApiError(503, "too busy"), ServerError, "UNAVAILABLE"),
    ],
)
async def test_errors_are_the_sdks_own(
    google: Client, server: ModelServer, error: ApiError, raised: type[APIError], status: str
) -> None:
    server.rule = lambda question: error
    with pytest.raises(raised) as caught:
        await google.aio.models.generate_content(model="m", contents=ASK)
    assert (caught.value.code, caught.value.status) == (error.status, status)
    assert caught.value.message == error.message


async def test_a_wrong_key_is_a_400(google: Client, server: ModelServer) -> None:
    server.api_key = "right"
    with pytest.raises(ClientError, match="API_KEY_INVALID") as caught:
        await google.aio.models.generate_content(model="m", contents=ASK)
    assert caught.value.code == 400


async def test_a_stream_may_break_or_fail(google: Client, server: ModelServer) -> None:
    server.rule = lambda question: HangUp(after_events=2)
    with pytest.raises(aiohttp.ClientPayloadError):
        await streamed(google)
    server.rule = lambda question: ApiError(503, "went away", after_events=2)
    with pytest.raises(ServerError, match="went away"):
        await streamed(google)


async def test_tokens_are_counted_and_models_listed(google: Client, server: ModelServer) -> None:
    counted = await google.aio.models.count_tokens(model="m", contents=ASK)
    assert (counted.total_tokens, server.requests) == (6, [])
    listed = await google.aio.models.list()
    assert [model.name async for model in listed] == ["models/test-model"]


async def test_results_have_to_match_calls(google: Client) -> None:
    called = types.Part(function_call=types.FunctionCall(name="add", args={}))
    contents: Any = [
        user(types.Part(text=ASK)),
        types.Content(role="model", parts=[called, called]),
        user(types.Part(function_response=types.FunctionResponse(name="add", response={}))),
    ]
    with pytest.raises(ClientError, match="number of function response parts"):
        await google.aio.models.generate_content(model="m", contents=contents)
