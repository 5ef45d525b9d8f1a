"""Messages as the official SDK sees it."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from anthropic import (
    APIConnectionError,
    APIStatusError,
    AsyncAnthropic,
    AuthenticationError,
    BadRequestError,
    RateLimitError,
)
from anthropic._exceptions import OverloadedError
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.beta import BetaMessage

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

ASK: Any = {"role": "user", "content": "How many 'r's are in 'strawberry'?"}
BASH: Any = {"type": "bash_20250124", "name": "bash"}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
IMAGE: Any = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}


async def test_a_text_and_its_tokens_arrive(anthropic: AsyncAnthropic, server: ModelServer) -> None:
    cited = [Citation("https://a.example", "A", text="three")]
    server.rule = lambda question: Say("3", cached_tokens=2, citations=cited)
    reply = await anthropic.messages.create(
        model="m", max_tokens=9, messages=[ASK], system="Be brief."
    )
    (block,) = reply.content
    assert block.type == "text" and block.text == "3" and block.citations is not None
    assert block.citations[0].type == "web_search_result_location"
    assert (reply.stop_reason, reply.model) == ("end_turn", "m")
    usage = reply.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (6, 2, 1)
    (request,) = server.requests
    assert (request.dialect, request.path) == (Dialect.MESSAGES, "/v1/messages")
    assert reply._request_id  # pyright: ignore[reportPrivateUsage]


async def think(anthropic: AsyncAnthropic, messages: list[Any]) -> BetaMessage:
    return await anthropic.beta.messages.create(
        model="m", max_tokens=2048, messages=messages, tools=[BASH], thinking=THINKING
    )


async def tell(anthropic: AsyncAnthropic) -> Message:
    return await anthropic.messages.create(model="m", max_tokens=9, messages=[ASK], tools=[BASH])


async def streamed(anthropic: AsyncAnthropic) -> list[RawMessageStreamEvent]:
    stream = await anthropic.messages.create(
        model="m", max_tokens=9, messages=[ASK], tools=[BASH], stream=True
    )
    return [event async for event in stream]


async def accumulated(anthropic: AsyncAnthropic) -> Message:
    async with anthropic.messages.stream(
        model="m", max_tokens=9, messages=[ASK], tools=[BASH]
    ) as stream:
        return await stream.get_final_message()


async def test_thinking_and_tools_go_round(anthropic: AsyncAnthropic, server: ModelServer) -> None:
    seen: list[Question] = []

    def end(question: Question) -> Say:
        seen.append(question)
        return Say("done")

    call = Call("bash", {"command": "ls"})
    server.rule = script(Say("Looking.", [call], "what is there?"), end)
    messages: list[Any] = [ASK]
    first = await think(anthropic, messages)
    assert first.stop_reason == "tool_use"
    thought, text, use = first.content
    assert thought.type == "thinking" and thought.thinking == "what is there?"
    assert text.type == "text" and text.text == "Looking."
    assert use.type == "tool_use" and (use.name, use.input) == ("bash", {"command": "ls"})
    blocks: list[Any] = [block.to_dict() for block in first.content]
    result: Any = {
        "type": "tool_result",
        "tool_use_id": use.id,
        "content": [{"type": "text", "text": "a.py"}, IMAGE],
        "is_error": True,
    }
    answer: Any = {"role": "user", "content": [result, {"type": "text", "text": "go on"}]}
    messages += [{"role": "assistant", "content": blocks}, answer]
    await think(anthropic, messages)
    (question,) = seen
    assert question.turns[1].reasoning == "what is there?"
    (given,) = question.last_results
    assert (given.name, given.text, given.is_error) == ("bash", "a.py", True)
    assert given.images[0].data.startswith(b"\x89PNG")
    assert question.turns[2].text == "go on"
    assert question.tools[0].kind == "bash_20250124"
    changed: list[Any] = [{**blocks[0], "thinking": "something else"}, *blocks[1:]]
    for spoilt, said in ((changed, "Invalid `signature`"), (blocks[1:], "Expected `thinking`")):
        messages[1] = {"role": "assistant", "content": spoilt}
        with pytest.raises(BadRequestError, match=said):
            await think(anthropic, messages)


async def test_the_sdk_puts_a_streamed_turn_together(
    anthropic: AsyncAnthropic, server: ModelServer
) -> None:
    calls = [Call("bash", {"command": "a longer command than fits into one piece"}), Call("bash")]
    cited = [Citation("https://a.example", "A")]
    server.rule = lambda question: Say("three  of\nthem", calls, "hm, so", citations=cited)
    whole = await tell(anthropic)
    reply = await accumulated(anthropic)
    as_sent = whole.to_dict() | {"id": reply.id, "content": None}
    assert reply.to_dict() | {"content": None} == as_sent
    for made, sent in zip(reply.content, whole.content, strict=True):
        left, right = made.to_dict(), sent.to_dict()
        assert {**left, "id": 0} == {**right, "id": 0}


async def test_malformed_arguments_come_as_they_are(
    anthropic: AsyncAnthropic, server: ModelServer
) -> None:
    server.rule = lambda question: Say(calls=[Call("bash", '{"command": nope')])
    events = await streamed(anthropic)
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    pieces = [delta.partial_json for delta in deltas if delta.type == "input_json_delta"]
    assert "".join(pieces) == '{"command": nope'
    with pytest.raises(ValueError, match="Unable to parse tool parameter JSON"):
        await accumulated(anthropic)


async def test_a_refusal_and_a_limit_are_stop_reasons(
    anthropic: AsyncAnthropic, server: ModelServer
) -> None:
    server.rule = lambda question: Say(None, refusal="I will not")
    reply = await anthropic.messages.create(model="m", max_tokens=9, messages=[ASK])
    assert (reply.stop_reason, reply.content) == ("refusal", [])
    assert reply.stop_details is not None and reply.stop_details.explanation == "I will not"
    server.rule = lambda question: Say("It is th", finish="length")
    reply = await anthropic.messages.create(model="m", max_tokens=9, messages=[ASK])
    assert reply.stop_reason == "max_tokens"


@pytest.mark.parametrize(
    ("error", "raised", "kind"),
    [
        (ApiError(401, "no"), AuthenticationError, "authentication_error"),
        (ApiError(429, "slow down"), RateLimitError, "rate_limit_error"),
        (ApiError(529, "too busy"), OverloadedError, "overloaded_error"),
        (ApiError(400, "prompt is too long"), BadRequestError, "invalid_request_error"),
    ],
)
async def test_errors_are_the_sdks_own(
    anthropic: AsyncAnthropic,
    server: ModelServer,
    error: ApiError,
    raised: type[APIStatusError],
    kind: str,
) -> None:
    server.rule = lambda question: error
    with pytest.raises(raised, match=error.message) as caught:
        await anthropic.messages.create(model="m", max_tokens=9, messages=[ASK])
    assert (caught.value.type, bool(caught.value.request_id)) == (kind, True)


async def test_a_wrong_key_is_a_401(anthropic: AsyncAnthropic, server: ModelServer) -> None:
    server.api_key = "right"
    with pytest.raises(AuthenticationError, match="invalid x-api-key"):
        await anthropic.messages.create(model="m", max_tokens=9, messages=[ASK])
    with pytest.raises(AuthenticationError):
        await anthropic.models.list()
    right = anthropic.with_options(api_key="right")
    assert [model.id async for model in right.models.list()] == ["test-model"]


async def test_a_stream_may_break_or_fail(anthropic: AsyncAnthropic, server: ModelServer) -> None:
    server.rule = lambda question: HangUp(after_events=4)
    with pytest.raises((APIConnectionError, httpx2.RemoteProtocolError)):
        await streamed(anthropic)
    server.rule = lambda question: ApiError(529, "too busy", after_events=4)
    with pytest.raises(APIStatusError, match="overloaded_error"):
        await streamed(anthropic)


async def test_tokens_are_counted_without_asking_the_model(
    anthropic: AsyncAnthropic, server: ModelServer
) -> None:
    counted = await anthropic.messages.count_tokens(model="m", messages=[ASK], system="Be brief.")
    assert (counted.input_tokens, server.requests) == (8, [])


async def test_instructions_may_come_among_the_messages(
    anthropic: AsyncAnthropic, server: ModelServer
) -> None:
    seen: list[Question] = []

    def rule(question: Question) -> str:
        seen.append(question)
        return "3"

    server.rule = rule
    later: Any = {"role": "system", "content": [{"type": "text", "text": "Now in French."}]}
    await anthropic.messages.create(
        model="m", max_tokens=9, messages=[ASK, later], system="Be brief."
    )
    assert [question.system for question in seen] == ["Be brief.\nNow in French."]
    assert [question.turn for question in seen] == [0]


REFUSED: list[tuple[Any, str]] = [
    ([], "at least one message"),
    ([{"role": "robot", "content": "x"}], "'user', 'assistant' or 'system'"),
    ([{"role": "user", "content": ""}], "must be non-empty"),
    ([{"role": "user", "content": [{**IMAGE, "source": {"type": "base64"}}]}], "media_type"),
    (
        [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}],
        "unexpected `tool_use_id`",
    ),
    (
        [
            ASK,
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
            },
            ASK,
        ],
        "without `tool_result` blocks immediately after: t",
    ),
]


@pytest.mark.parametrize(("messages", "said"), REFUSED)
async def test_what_the_provider_refuses_is_refused(
    anthropic: AsyncAnthropic, messages: Any, said: str
) -> None:
    with pytest.raises(BadRequestError, match=said):
        await anthropic.messages.create(model="m", max_tokens=9, messages=messages)
