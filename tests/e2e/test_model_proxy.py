"""A run's own model API: the providers' SDKs ask through it, the test servers answer behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Collection
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from anthropic import AsyncAnthropic
from google import genai
from google.genai import types as google
from openai import AsyncOpenAI

from hud.agents.model_proxy import ModelProxy, ProxyLimits
from hud.agents.run import Run
from hud.models.endpoint import Endpoint
from hud.models.failure import ContextOverflow
from hud.models.provider import Dialect
from hud.testing.model_server import ApiError, Call, HangUp, ModelServer, RawReply, Say
from hud.testing.model_server.server import MODEL
from hud.trace.steps import AgentStep
from tests.bare import forget_settings

KEY = "the-provider-key-that-stays-outside"
DIALECTS = list(Dialect)
PROMPT: list[Any] = [{"role": "user", "content": "How much?"}]
SAID = Say("The answer is 42.", calls=[Call("look", {"at": "it"})], prompt_tokens=20,
           completion_tokens=7, cached_tokens=4)  # fmt: skip


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))


class Proxied:
    """A proxy on a port of this machine, where a sandbox's would be."""

    def __init__(self, proxy: ModelProxy, run: Run, port: int) -> None:
        self.proxy = proxy
        self.run = run
        self.url = f"http://127.0.0.1:{port}"

    @property
    def turns(self) -> list[AgentStep]:
        return [step for step in self.run.trace.steps if isinstance(step, AgentStep)]

    async def post(self, path: str, body: Any, token: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {token or self.proxy.token}"}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            return await client.post(f"{self.url}{path}", content=content, headers=headers)


@contextlib.asynccontextmanager
async def proxied(
    endpoint: Endpoint,
    limits: ProxyLimits | None = None,
    models: Collection[str] = (MODEL,),
    run: Run | None = None,
) -> AsyncGenerator[Proxied]:
    run = run or Run(None, "count", {})
    connections: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await proxy.serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # its client went, or the test is over
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            connections.discard(task)

    async with ModelProxy(run, endpoint, models, limits) as proxy:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield Proxied(proxy, run, server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for task in list(connections):
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)


def endpoint_of(server: ModelServer, dialect: Dialect) -> Endpoint:
    providers = {Dialect.MESSAGES: "anthropic", Dialect.GEMINI: "google"}
    return Endpoint(server.base_url(dialect), KEY, provider=providers.get(dialect, "openai"))


async def ask(dialect: Dialect, url: str, token: str, *, stream: bool, model: str = MODEL) -> str:
    """Ask as the dialect's own SDK does and return the text of the reply."""
    asking: dict[Dialect, Any] = {
        Dialect.MESSAGES: _ask_claude,
        Dialect.RESPONSES: _ask_responses,
        Dialect.CHAT: _ask_chat,
        Dialect.GEMINI: _ask_gemini,
    }
    return await asking[dialect](url, token, model, stream)


def untyped(value: Any) -> Any:
    return value


async def _ask_claude(url: str, token: str, model: str, stream: bool) -> str:
    said: Any = {"model": model, "max_tokens": 100, "messages": PROMPT}
    reply: Any
    async with AsyncAnthropic(base_url=url, auth_token=token, max_retries=0) as opened:
        client = untyped(opened)
        if stream:
            async with client.messages.stream(**said) as events:
                reply = await events.get_final_message()
        else:
            reply = await client.messages.create(**said)
    return "".join(block.text for block in reply.content if block.type == "text")


async def _ask_responses(url: str, token: str, model: str, stream: bool) -> str:
    said: Any = {"model": model, "input": "How much?", "stream": stream}
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as opened:
        client = untyped(opened)
        reply = await client.responses.create(**said)
        if not stream:
            return reply.output_text
        events: list[Any] = [event async for event in reply]
    return "".join(e.delta for e in events if e.type == "response.output_text.delta")


async def _ask_chat(url: str, token: str, model: str, stream: bool) -> str:
    said: Any = {"model": model, "messages": PROMPT, "stream": stream}
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as opened:
        client = untyped(opened)
        reply = await client.chat.completions.create(**said)
        if not stream:
            return reply.choices[0].message.content
        # A program that reads `choices[0]` of every chunk must not trip.
        return "".join([chunk.choices[0].delta.content or "" async for chunk in reply])


async def _ask_gemini(url: str, token: str, model: str, stream: bool) -> str:
    said: Any = {"model": model, "contents": "How much?"}
    options = google.HttpOptions(base_url=url, api_version="v1beta")
    client = untyped(genai.Client(api_key=token, http_options=options).aio)
    try:
        if stream:
            asked: Any = await client.models.generate_content_stream(**said)
            replies: list[Any] = [chunk async for chunk in asked]
        else:
            replies = [await client.models.generate_content(**said)]
    finally:
        await client.aclose()
    parts: list[Any] = []
    for reply in replies:
        parts += reply.candidates[0].content.parts or []
    return "".join(part.text or "" for part in parts)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_sdk_asks_with_the_runs_token_and_the_api_gets_the_key(
    dialect: Dialect, stream: bool
) -> None:
    async with ModelServer(lambda _: SAID, api_key=KEY) as server:
        async with proxied(endpoint_of(server, dialect)) as at:
            text = await ask(dialect, at.url, at.proxy.token, stream=stream)
        (request,) = server.requests
    assert text == "The answer is 42."
    assert request.stream is stream
    assert at.proxy.token not in str(request.headers)
    (turn,) = at.turns
    assert turn.usage is not None and turn.model == MODEL
    assert (turn.usage.prompt_tokens, turn.usage.completion_tokens) == (20, 7)
    assert turn.usage.cached_tokens == 4
    assert turn.extra["api"] == dialect.value
    assert turn.started_at and turn.ended_at and turn.started_at <= turn.ended_at
    assert at.proxy.failure is None and at.proxy.calls == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_the_model_said_is_on_the_trace(dialect: Dialect, stream: bool) -> None:
    async with (
        ModelServer(lambda _: SAID) as server,
        proxied(endpoint_of(server, dialect)) as at,
    ):
        await ask(dialect, at.url, at.proxy.token, stream=stream)
    (turn,) = at.turns
    assert turn.content == "The answer is 42."
    assert [(call.name, call.arguments) for call in turn.tool_calls] == [("look", {"at": "it"})]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_wrong_token_is_refused_and_reaches_nobody(dialect: Dialect) -> None:
    refused = (anthropic.AuthenticationError, openai.AuthenticationError, genai.errors.ClientError)
    async with (
        ModelServer(lambda _: SAID) as server,
        proxied(endpoint_of(server, dialect)) as at,
    ):
        for token in (KEY, at.proxy.token[:-1], "x"):
            with pytest.raises(refused, match="token of this run"):
                await ask(dialect, at.url, token, stream=False)
        assert (server.received, at.turns) == (0, [])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_another_model_is_refused_by_name(dialect: Dialect) -> None:
    refused = (
        anthropic.PermissionDeniedError,
        openai.PermissionDeniedError,
        genai.errors.ClientError,
    )
    async with (
        ModelServer(lambda _: SAID) as server,
        proxied(endpoint_of(server, dialect)) as at,
    ):
        with pytest.raises(refused, match="may not use the model 'dear-model', only test-model"):
            await ask(dialect, at.url, at.proxy.token, stream=False, model="dear-model")
        assert (server.received, at.turns) == (0, [])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_calls_beyond_the_budget_are_refused_with_its_name(dialect: Dialect) -> None:
    refused = (anthropic.RateLimitError, openai.RateLimitError, genai.errors.ClientError)
    async with (
        ModelServer(lambda _: SAID) as server,
        proxied(endpoint_of(server, dialect), ProxyLimits(max_steps=2)) as at,
    ):
        for _ in range(2):
            await ask(dialect, at.url, at.proxy.token, stream=False)
        assert at.proxy.spent is None
        with pytest.raises(refused, match="budget of this run is used up: 2 model calls"):
            await ask(dialect, at.url, at.proxy.token, stream=False)
        assert at.proxy.spent == "max_steps" and at.proxy.is_spent.is_set()
        assert (server.received, len(at.turns)) == (2, 2)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ProxyLimits(max_total_tokens=27), "max_tokens"),
        (ProxyLimits(max_cost_usd=1e-9), "max_cost"),
    ],
)
async def test_tokens_and_money_are_budgets_too(limits: ProxyLimits, reason: str) -> None:
    priced = "gpt-5.4-mini"
    async with (
        ModelServer(lambda _: SAID) as server,
        proxied(endpoint_of(server, Dialect.CHAT), limits, models=[priced]) as at,
    ):
        await ask(Dialect.CHAT, at.url, at.proxy.token, stream=True, model=priced)
        assert at.turns[0].usage and at.turns[0].usage.cost_usd
        with pytest.raises(openai.RateLimitError, match=reason):
            await ask(Dialect.CHAT, at.url, at.proxy.token, stream=True, model=priced)
        assert at.proxy.spent == reason


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_may_pass_is_tried_again_before_the_first_byte(dialect: Dialect) -> None:
    said = [ApiError(503, "busy", headers={"Retry-After": "0"}), HangUp(), SAID]
    async with (
        ModelServer(lambda _: said.pop(0)) as server,
        proxied(endpoint_of(server, dialect)) as at,
    ):
        assert await ask(dialect, at.url, at.proxy.token, stream=True) == "The answer is 42."
        assert server.received == 3
    (turn,) = at.turns
    assert "failed" not in turn.extra


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_reply_that_breaks_off_is_not_begun_anew(dialect: Dialect) -> None:
    async with (
        ModelServer(lambda _: HangUp(after_events=3, says=SAID)) as server,
        proxied(endpoint_of(server, dialect)) as at,
    ):
        with contextlib.suppress(Exception):  # how a cut reply is taken is each SDK's own affair
            await ask(dialect, at.url, at.proxy.token, stream=True)
        assert server.received == 1
    (turn,) = at.turns
    assert turn.extra["cut"] is True and "broke off" in str(turn.extra["failed"])
    assert at.proxy.failure is not None


@pytest.mark.parametrize("dialect", [Dialect.MESSAGES, Dialect.RESPONSES])
async def test_an_error_within_a_stream_is_the_apis(dialect: Dialect) -> None:
    async with (
        ModelServer(lambda _: ApiError(529, "overloaded", after_events=2)) as server,
        proxied(endpoint_of(server, dialect)) as at,
    ):
        with contextlib.suppress(Exception):
            await ask(dialect, at.url, at.proxy.token, stream=True)
    assert "overloaded" in str(at.proxy.failure)


async def test_an_error_of_the_api_passes_with_its_status_and_without_the_key() -> None:
    async with (
        ModelServer(lambda _: ApiError(401, f"wrong key {KEY}")) as server,
        proxied(endpoint_of(server, Dialect.CHAT)) as at,
    ):
        reply = await at.post("/v1/chat/completions", {"model": MODEL, "messages": PROMPT})
    assert reply.status_code == 401
    assert "wrong key [redacted]" in reply.text and KEY not in reply.text
    assert at.proxy.failure is not None and KEY not in at.proxy.failure.message
    (turn,) = at.turns
    assert "status 401" in str(turn.extra["failed"])


async def test_a_conversation_too_long_is_told_apart() -> None:
    error = ApiError(400, "prompt is too long", "context_length_exceeded")
    async with (
        ModelServer(lambda _: error) as server,
        proxied(endpoint_of(server, Dialect.CHAT)) as at,
    ):
        with pytest.raises(openai.BadRequestError):
            await ask(Dialect.CHAT, at.url, at.proxy.token, stream=False)
    assert isinstance(at.proxy.failure, ContextOverflow)


async def test_an_api_that_is_down_is_a_model_fault_and_a_502_inside() -> None:
    async with ModelServer(lambda _: SAID) as server:
        endpoint = endpoint_of(server, Dialect.MESSAGES)
    async with proxied(endpoint, ProxyLimits(retries=0)) as at:
        reply = await at.post("/v1/messages", {"model": MODEL})
    assert reply.status_code == 502 and reply.json()["type"] == "error"
    assert "cannot be reached" in str(at.proxy.failure)


async def test_a_later_call_that_works_clears_a_failure() -> None:
    said: list[Any] = [ApiError(400, "no"), SAID]
    async with (
        ModelServer(lambda _: said.pop(0)) as server,
        proxied(endpoint_of(server, Dialect.RESPONSES)) as at,
    ):
        with pytest.raises(openai.BadRequestError):
            await ask(Dialect.RESPONSES, at.url, at.proxy.token, stream=False)
        assert at.proxy.failure is not None
        await ask(Dialect.RESPONSES, at.url, at.proxy.token, stream=False)
        assert at.proxy.failure is None


async def test_tokens_are_counted_and_models_listed_without_a_step() -> None:
    async with (
        ModelServer(lambda _: SAID) as server,
        proxied(endpoint_of(server, Dialect.MESSAGES), ProxyLimits(max_steps=0)) as at,
        AsyncAnthropic(base_url=at.url, api_key=at.proxy.token) as claude,
    ):
        assert (await claude.messages.count_tokens(model=MODEL, messages=PROMPT)).input_tokens > 0
        assert [model.id async for model in claude.models.list()] == [MODEL]
    assert at.turns == [] and at.proxy.calls == 0


async def test_a_gateway_is_told_the_trace_whatever_the_program_says() -> None:
    run = Run(None, "count", {})
    run.trace.trace_id = "a" * 32
    async with ModelServer(lambda _: SAID) as server:
        endpoint = Endpoint(server.gateway_url, KEY, is_gateway=True)
        async with proxied(endpoint, run=run) as at:
            for dialect in DIALECTS:
                await ask(dialect, at.url, at.proxy.token, stream=False)
            headers = {"trace-id": "of the agent", "x-api-key": at.proxy.token, "cookie": "c"}
            async with httpx.AsyncClient(trust_env=False) as client:
                said: Any = {"model": MODEL, "messages": PROMPT}
                await client.post(f"{at.url}/v1/chat/completions", json=said, headers=headers)
        assert [request.headers["trace-id"] for request in server.requests] == ["a" * 32] * 5
        assert "cookie" not in server.requests[-1].headers


@pytest.mark.parametrize(
    ("path", "body", "status"),
    list[tuple[str, Any, int]](
        [
            ("/v1/chat/completions", b"{", 400),
            ("/v1/chat/completions", [], 400),
            ("/v1/messages", {"messages": []}, 400),
            ("/v1/files", {"model": MODEL}, 404),
            ("/v1/../admin", {"model": MODEL}, 404),
            ("/v1beta/models/other:generateContent", {"model": MODEL}, 403),
            ("/v1beta/models/test-model:deleteModel", {"model": MODEL}, 404),
            ("/v1/messages", b"x" * (33 << 20), 413),
        ]
    ),
)
async def test_requests_that_are_none_reach_nobody(path: str, body: Any, status: int) -> None:
    async with (
        ModelServer(lambda _: SAID) as server,
        proxied(endpoint_of(server, Dialect.MESSAGES)) as at,
    ):
        assert (await at.post(path, body)).status_code == status
        assert server.received == 0


async def test_a_client_that_goes_away_gives_its_place_back() -> None:
    asked = asyncio.Event()

    async def once_never(_: Any) -> Any:
        if asked.is_set():
            return SAID
        asked.set()
        await asyncio.Event().wait()

    async with (
        ModelServer(once_never) as server,
        proxied(endpoint_of(server, Dialect.CHAT), ProxyLimits(max_concurrent=1)) as at,
        asyncio.timeout(60),
    ):
        asking = asyncio.ensure_future(ask(Dialect.CHAT, at.url, at.proxy.token, stream=False))
        await asked.wait()
        asking.cancel()
        await asyncio.wait([asking])
        assert await ask(Dialect.CHAT, at.url, at.proxy.token, stream=False) == SAID.text
    assert at.proxy.failure is None


async def test_a_body_that_is_no_reply_passes_unchanged() -> None:
    async with (
        ModelServer(lambda _: RawReply(b"<html>", content_type="text/html")) as server,
        proxied(endpoint_of(server, Dialect.CHAT)) as at,
    ):
        reply = await at.post("/v1/chat/completions", {"model": MODEL, "messages": PROMPT})
    assert (reply.content, reply.headers["content-type"]) == (b"<html>", "text/html")
    (turn,) = at.turns
    assert (turn.content, turn.usage) == (None, None)
