"""The Chat Completions double, as the official SDK and a bare socket see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import APIConnectionError, AsyncOpenAI, BadRequestError, InternalServerError
from openai import NotFoundError as NoSuchEndpoint

from hud.testing.chat_server import ChatReply, ChatServer, HangUp, letter_count

QUESTION = "How many 'r's are in 'strawberry'?"


@pytest.fixture
async def server() -> AsyncIterator[ChatServer]:
    async with ChatServer() as held:
        yield held


@pytest.fixture
async def client(server: ChatServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0) as held:
        yield held


async def ask(client: AsyncOpenAI, text: str = QUESTION) -> str | None:
    reply = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": text}]
    )
    return reply.choices[0].message.content


async def test_the_sdk_understands_a_reply(client: AsyncOpenAI, server: ChatServer) -> None:
    assert await ask(client) == "3"
    (request,) = server.requests
    assert (request.path, request.body["model"]) == ("/v1/chat/completions", "m")
    assert request.headers["authorization"] == "Bearer any"


async def test_the_address_works_with_and_without_v1(server: ChatServer) -> None:
    bare = server.base_url.removesuffix("/v1")
    async with AsyncOpenAI(base_url=bare, api_key="any") as client:
        assert await ask(client) == "3"


async def test_the_sdk_understands_a_streamed_reply(
    client: AsyncOpenAI, server: ChatServer
) -> None:
    server.rule = lambda request: ChatReply("three  of\nthem", finish_reason="length")
    stream = await client.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in deltas) == "three  of\nthem"
    assert deltas[-1].finish_reason == "length"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 3


async def test_models_are_listed(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["test-model"]


async def test_an_endpoint_there_is_not_is_a_404(client: AsyncOpenAI, server: ChatServer) -> None:
    with pytest.raises(NoSuchEndpoint, match="POST /v1/embeddings"):
        await client.embeddings.create(model="m", input="x")
    assert server.requests == []


async def test_a_rule_that_raises_is_a_500(client: AsyncOpenAI, server: ChatServer) -> None:
    def rule(request: dict[str, Any]) -> str:
        raise KeyError("odd")

    async def later(request: dict[str, Any]) -> str:
        raise KeyError("odd")

    for broken in (rule, later):
        server.rule = broken
        with pytest.raises(InternalServerError, match="the rule raised KeyError"):
            await ask(client)


async def test_a_latency_delays_one_answer_and_not_the_others(
    client: AsyncOpenAI, server: ChatServer
) -> None:
    arrived = asyncio.Event()

    def rule(request: dict[str, Any]) -> ChatReply | str:
        if "slow" not in str(request["messages"]):
            return "fast"
        arrived.set()
        return ChatReply("slow", latency_s=3600)

    server.rule = rule
    slow = asyncio.ensure_future(ask(client, "slow"))
    await arrived.wait()
    assert await ask(client, "fast") == "fast"
    assert not slow.done()
    slow.cancel()
    await asyncio.wait([slow])


async def test_a_dropped_connection_and_a_killed_server_are_connection_errors(
    client: AsyncOpenAI, server: ChatServer
) -> None:
    server.rule = lambda request: HangUp()
    with pytest.raises(APIConnectionError):
        await ask(client)
    server.rule = letter_count
    assert await ask(client) == "3"
    server.kill()
    with pytest.raises(APIConnectionError):
        await ask(client)


async def test_a_body_that_is_no_request_is_a_400(client: AsyncOpenAI, server: ChatServer) -> None:
    with pytest.raises(BadRequestError, match="'messages' must be a list"):
        await client.post("/chat/completions", body={"model": "m"}, cast_to=object)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 3\r\n\r\n{]}")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    await writer.wait_closed()


async def test_requests_that_arrive_in_pieces_or_together_are_answered_in_order(
    server: ChatServer,
) -> None:
    server.rule = lambda request: ChatReply(request["messages"][0]["content"], latency_s=0.001)
    sent = b""
    for word in ("one", "two", "three"):
        body = f'{{"messages": [{{"role": "user", "content": "{word}"}}]}}'.encode()
        sent += b"POST /chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for part in (sent[:10], sent[10:200], sent[200:]):
        writer.write(part)
        await writer.drain()
    received = b""
    while received.count(b"chat.completion") < 3:
        received += await reader.read(65536)
    places = [received.index(word) for word in (b'"one"', b'"two"', b'"three"')]
    assert places == sorted(places)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (QUESTION, "3"),
        ("How many 'r's are in 'blueberry'? Reply with just the number.", "2"),
        ("How many 'z's are in 'strawberry'?", "0"),
        ('Count the letter "b" in "Blueberry", please.', "2"),
        ("How many r's are in raspberry?", "3"),
        ("How many times does r appear in strawberry?", "3"),
        ("hello", "I do not know"),
    ],
)
def test_the_letter_rule_counts(prompt: str, answer: str) -> None:
    assert letter_count({"messages": [{"role": "user", "content": prompt}]}) == answer
