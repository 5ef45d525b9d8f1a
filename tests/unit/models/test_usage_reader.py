"""Usage is read out of answers of every dialect while they pass, in whatever pieces they come."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from hud.models.provider import Dialect
from hud.models.sse import MAX_EVENT_BYTES, EventCutter
from hud.models.usage import MAX_REPLY_BYTES, UsageReader
from hud.testing.model_server import ApiError, Call, ModelServer, Say

DIALECTS = list(Dialect)
SAID = Say(
    'It says "usage": null and \n\n"usageMetadata".',
    calls=[Call("look", {"usage": {"prompt_tokens": 1}})],
    reasoning="Hm.",
    prompt_tokens=20,
    completion_tokens=7,
    cached_tokens=4,
)
BODIES: dict[Dialect, tuple[str, dict[str, Any]]] = {
    Dialect.CHAT: (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": True}},
    ),
    Dialect.RESPONSES: ("/v1/responses", {"input": "x"}),
    Dialect.MESSAGES: (
        "/v1/messages",
        {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9},
    ),
    Dialect.GEMINI: (
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
    ),
}


@pytest.fixture
async def server() -> AsyncGenerator[ModelServer]:
    async with ModelServer(lambda question: SAID) as running:
        yield running


async def answer(server: ModelServer, dialect: Dialect, *, stream: bool) -> tuple[str, bytes]:
    """Return the type and the bytes of an answer."""
    path, body = BODIES[dialect]
    if dialect is not Dialect.GEMINI:
        body = {**body, "model": "m", "stream": stream}
    elif not stream:
        path = "/v1beta/models/m:generateContent"
    url = f"http://127.0.0.1:{server.port}{path}"
    async with httpx.AsyncClient(trust_env=False) as client:
        reply = await client.post(url, json=body, headers={"anthropic-version": "2023-06-01"})
    return reply.headers["content-type"], reply.content


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_tokens_are_found_however_the_answer_is_cut(
    server: ModelServer, dialect: Dialect, stream: bool, size: int
) -> None:
    kind, data = await answer(server, dialect, stream=stream)
    reader = UsageReader(dialect, kind)
    pieces = [reader.take(data[at : at + size]) for at in range(0, len(data), size)]
    assert b"".join(pieces) + reader.rest() == data, "nothing is changed"
    usage = reader.usage()
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (20, 7, 4)
    assert (reader.model, reader.error) == ("m", None)
    assert reader.is_complete or dialect is Dialect.GEMINI
    assert (reader.reply_id is not None) == (dialect is Dialect.RESPONSES)


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
async def test_the_event_of_the_usage_is_hidden_and_nothing_else(
    server: ModelServer, size: int
) -> None:
    kind, data = await answer(server, Dialect.CHAT, stream=True)
    reader = UsageReader(Dialect.CHAT, kind, hides_usage=True)
    shown = b"".join(reader.take(data[at : at + size]) for at in range(0, len(data), size))
    shown += reader.rest()
    events = [event for event in EventCutter().cut(data) if b'"choices":[]' not in event]
    assert shown == b"".join(events)
    assert len(data) > len(shown)
    usage = reader.usage()
    assert usage is not None and usage.completion_tokens == 7


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_error_in_the_middle_is_told(dialect: Dialect) -> None:
    error = ApiError(529, "too much", after_events=2)
    async with ModelServer(lambda question: error) as server:
        kind, data = await answer(server, dialect, stream=True)
    reader = UsageReader(dialect, kind)
    reader.take(data)
    reader.rest()
    assert reader.error is not None
    assert "too much" in reader.error


def test_a_null_of_the_usage_costs_no_decoding_and_hides_nothing() -> None:
    events = b'data: {"model":"m","choices":[{"delta":{}}],"usage":null}\n\n' * 3
    events += b'data: {"model":"m","choices":[{"delta":{}}],"usage": null}\r\n\r\n'
    reader = UsageReader(Dialect.CHAT, "text/event-stream", hides_usage=True)
    assert reader.take(events) == events
    assert reader.usage() is None
    assert reader.events == 4


@pytest.mark.parametrize(
    "data",
    [b"", b"no json", b"[]", b"[[]]", b"null", b'{"usage":3}', b'{"usage":{"prompt_tokens":"x"}}'],
)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream; charset=utf-8"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_says_nothing_passes(dialect: Dialect, kind: str, data: bytes) -> None:
    sent = b"data: " + data + b"\n\n" if "event" in kind else data
    reader = UsageReader(dialect, kind)
    assert reader.take(sent) + reader.rest() == sent
    usage = reader.usage()
    assert usage is None or usage.prompt_tokens is None


def test_an_event_without_an_end_passes_and_is_not_held_for_ever() -> None:
    reader = UsageReader(Dialect.CHAT, "text/event-stream", hides_usage=True)
    block = b"x" * (1 << 20)
    times = MAX_EVENT_BYTES // len(block) + 4
    sent = sum(len(reader.take(block)) for _ in range(times)) + len(reader.rest())
    assert sent == times * len(block)


def test_a_whole_answer_that_is_too_long_to_read_still_passes() -> None:
    reader = UsageReader(Dialect.CHAT, "application/json")
    block = b" " * (8 << 20)
    for _ in range(MAX_REPLY_BYTES // len(block) + 1):
        assert reader.take(block) is block
    reader.take(b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}')
    reader.rest()
    assert reader.usage() is None


def test_usage_that_comes_in_parts_is_put_together() -> None:
    start = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 5}}}
    end = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 3}}
    reader = UsageReader(Dialect.MESSAGES, "text/event-stream")
    for event in (start, end):
        reader.take(b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n")
    usage = reader.usage()
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (5, 3)
