"""Chat Completions as the official SDK sees it."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from openai import (
    APIConnectionError,
    APIError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    RateLimitError,
)
from openai.types.chat import ChatCompletionChunk

from hud.models.provider import Dialect
from hud.testing.model_server import (
    IMAGE_TOKENS,
    ApiError,
    Call,
    Citation,
    HangUp,
    ModelServer,
    Question,
    Say,
    script,
)

USER: Any = {"role": "user", "content": "How many 'r's are in 'strawberry'?"}
TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": "add", "description": "Add.", "parameters": {"type": "object"}},
    }
]
PNG = "iVBORw0KGgo="


async def test_a_text_and_its_tokens_arrive(openai: AsyncOpenAI, server: ModelServer) -> None:
    reply = await openai.chat.completions.create(model="m", messages=[USER])
    assert reply.choices[0].message.content == "3"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (6, 1)
    (request,) = server.requests
    assert (request.dialect, request.path) == (Dialect.CHAT, "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer any"


async def test_tools_are_called_and_their_results_come_back(
    openai: AsyncOpenAI, server: ModelServer
) -> None:
    seen: list[Question] = []

    def end(question: Question) -> Say:
        seen.append(question)
        return Say("5 and a picture")

    calls = [Call("add", {"a": 2, "b": 3}), Call("add", "{not json", id="mine")]
    server.rule = script(Say("Let me add.", calls=calls, reasoning="two and three"), end)
    messages: list[Any] = [{"role": "system", "content": "Be brief."}, USER]
    reply = await openai.chat.completions.create(model="m", messages=messages, tools=TOOLS)
    said = reply.choices[0].message
    assert reply.choices[0].finish_reason == "tool_calls"
    assert said.content == "Let me add."
    assert said.model_extra == {"reasoning_content": "two and three"}
    assert said.tool_calls is not None
    first, second = said.tool_calls
    assert first.type == "function" and second.type == "function"
    assert (first.function.name, first.function.arguments) == ("add", '{"a":2,"b":3}')
    assert (second.id, second.function.arguments) == ("mine", "{not json")
    image: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    messages += [
        said.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": first.id, "content": "5"},
        {"role": "tool", "tool_call_id": "mine", "content": [{"type": "text", "text": "bad"}]},
        {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
    ]
    reply = await openai.chat.completions.create(model="m", messages=messages, tools=TOOLS)
    assert reply.choices[0].message.content == "5 and a picture"
    (question,) = seen
    assert (question.turn, question.system, len(question.turns)) == (1, "Be brief.", 3)
    assert question.tool("add") is not None
    model = question.turns[1]
    assert (model.text, model.reasoning) == ("Let me add.", "two and three")
    assert [call.arguments for call in model.calls] == [{"a": 2, "b": 3}, "{not json"]
    results = [(each.call_id, each.name, each.text) for each in question.last_results]
    assert results == [(first.id, "add", "5"), ("mine", "add", "bad")]
    (picture,) = question.turns[2].images
    assert (picture.media_type, picture.data[:4]) == ("image/png", b"\x89PNG")
    assert reply.usage is not None and reply.usage.prompt_tokens > IMAGE_TOKENS


async def test_the_sdk_puts_a_streamed_turn_together(
    openai: AsyncOpenAI, server: ModelServer
) -> None:
    text = "three  of\nthem, because I counted every one of the letters"
    calls = [Call("add", {"text": "a longer text than fits into one piece"}), Call("add", "[1,")]
    cited = [Citation("https://a.example", "A", end_index=5)]
    server.rule = lambda question: Say(text, calls, "thinking of it", citations=cited)
    async with openai.chat.completions.stream(
        model="m", messages=[USER], stream_options={"include_usage": True}
    ) as stream:
        reply = await stream.get_final_completion()
    said = reply.choices[0].message
    assert (said.content, reply.choices[0].finish_reason) == (text, "tool_calls")
    assert said.tool_calls is not None
    assert [call.function.arguments for call in said.tool_calls] == [
        '{"text":"a longer text than fits into one piece"}',
        "[1,",
    ]
    assert all(call.id for call in said.tool_calls)
    assert reply.usage is not None and reply.usage.completion_tokens > 10
    assert said.model_extra is not None
    assert said.model_extra["reasoning_content"] == "thinking of it"


async def test_token_ids_and_logprobs_are_sent_to_who_asks(
    openai: AsyncOpenAI, server: ModelServer
) -> None:
    say = Say("x", prompt_token_ids=[1, 2], token_ids=[3], logprobs=[-0.5], cached_tokens=1)
    server.rule = lambda question: say
    reply = await openai.chat.completions.create(
        model="m", messages=[USER], logprobs=True, extra_body={"return_token_ids": True}
    )
    choice = reply.choices[0]
    assert choice.model_extra == {"prompt_token_ids": [1, 2], "token_ids": [3]}
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert [token.logprob for token in choice.logprobs.content] == [-0.5]
    assert reply.usage is not None and reply.usage.prompt_tokens_details is not None
    assert reply.usage.prompt_tokens_details.cached_tokens == 1


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ApiError(401, "no", "invalid_api_key"), AuthenticationError),
        (ApiError(429, "slow down", headers={"Retry-After": "3"}), RateLimitError),
        (ApiError(529, "too busy"), InternalServerError),
    ],
)
async def test_errors_are_the_sdks_own(
    openai: AsyncOpenAI, server: ModelServer, error: ApiError, raised: type[Exception]
) -> None:
    server.rule = lambda question: error
    with pytest.raises(raised, match=error.message):
        await openai.chat.completions.create(model="m", messages=[USER])


async def test_a_wrong_key_is_a_401(openai: AsyncOpenAI, server: ModelServer) -> None:
    server.api_key = "right"
    with pytest.raises(AuthenticationError, match="Incorrect API key") as caught:
        await openai.chat.completions.create(model="m", messages=[USER])
    assert caught.value.code == "invalid_api_key"
    right = openai.with_options(api_key="right")
    assert (await right.chat.completions.create(model="m", messages=[USER])).choices
    assert server.received == 1


async def streamed(openai: AsyncOpenAI) -> list[ChatCompletionChunk]:
    stream = await openai.chat.completions.create(model="m", messages=[USER], stream=True)
    return [chunk async for chunk in stream]


@pytest.mark.parametrize("cut", [HangUp(), HangUp(after_events=3), HangUp(after_bytes=250)])
async def test_a_cut_stream_is_an_error(
    openai: AsyncOpenAI, server: ModelServer, cut: HangUp
) -> None:
    server.rule = lambda question: cut
    with pytest.raises((APIConnectionError, httpx2.RemoteProtocolError)):
        await streamed(openai)


async def test_an_error_may_come_in_the_middle_of_a_stream(
    openai: AsyncOpenAI, server: ModelServer
) -> None:
    server.rule = lambda question: ApiError(503, "went away", after_events=2)
    with pytest.raises(APIError, match="went away"):
        await streamed(openai)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "too short"),
        ([{"role": "robot", "content": "x"}], "robot"),
        ([{"role": "tool", "tool_call_id": "x", "content": "x"}], "must be a response"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "image",
        ),
        (
            [
                USER,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
                    ],
                },
                USER,
            ],
            "without a response: a",
        ),
    ],
)
async def test_what_the_provider_refuses_is_refused(
    openai: AsyncOpenAI, server: ModelServer, messages: Any, said: str
) -> None:
    with pytest.raises(BadRequestError, match=said):
        await openai.chat.completions.create(model="m", messages=messages)
    assert server.answered == 0
