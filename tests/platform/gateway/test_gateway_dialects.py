"""The providers' own SDKs ask the gateway with a platform key; the provider gets its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from google import genai
from google.genai import types as google
from openai import AsyncOpenAI

from hud._core.settings import Settings
from hud.models.provider import Dialect
from hud.testing.model_server import Call, ModelServer, Say
from tests.platform.gateway.gatewayed import PROVIDER_KEY, Gatewayed, gatewayed

DIALECTS = list(Dialect)
PROMPT: list[Any] = [{"role": "user", "content": "How much?"}]
SAID = Say(
    "The answer is 42.",
    calls=[Call("look", {"at": "it"})],
    prompt_tokens=20,
    completion_tokens=7,
    cached_tokens=4,
)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncGenerator[Gatewayed]:
    async with gatewayed(tmp_path / "home") as running:
        yield running


def add_all(platform: Gatewayed, server: ModelServer, models: list[str]) -> None:
    """Add a provider of every dialect in front of one server."""
    for name, dialect, kind in (
        ("openai", "openai", Dialect.CHAT),
        ("anthropic", "anthropic", Dialect.MESSAGES),
        ("google", "gemini", Dialect.GEMINI),
    ):
        listed = [f"{kind.value}/{model}={model}" for model in models]
        platform.add(name, dialect, server.base_url(kind), listed)


def model_for(dialect: Dialect) -> str:
    kind = Dialect.CHAT if dialect is Dialect.RESPONSES else dialect
    return f"{kind.value}/big-model"


async def ask(dialect: Dialect, url: str, key: str, model: str, *, stream: bool) -> str:
    """Ask as the dialect's own SDK does and return the text of the reply."""
    asking: dict[Dialect, Any] = {
        Dialect.MESSAGES: _ask_claude,
        Dialect.RESPONSES: _ask_responses,
        Dialect.CHAT: _ask_chat,
        Dialect.GEMINI: _ask_gemini,
    }
    return await asking[dialect](url, key, model, stream)


async def _ask_claude(url: str, key: str, model: str, stream: bool) -> str:
    said: Any = {"model": model, "max_tokens": 100, "messages": PROMPT}
    reply: Any
    async with AsyncAnthropic(base_url=url, api_key=key, max_retries=0) as opened:
        client: Any = opened
        if stream:
            async with client.messages.stream(**said) as events:
                reply = await events.get_final_message()
        else:
            reply = await client.messages.create(**said)
    return "".join(block.text for block in reply.content if block.type == "text")


async def _ask_responses(url: str, key: str, model: str, stream: bool) -> str:
    said: Any = {"model": model, "input": "How much?", "stream": stream}
    async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as opened:
        client: Any = opened
        reply = await client.responses.create(**said)
        if not stream:
            return reply.output_text
        events: list[Any] = [event async for event in reply]
    return "".join(e.delta for e in events if e.type == "response.output_text.delta")


async def _ask_chat(url: str, key: str, model: str, stream: bool) -> str:
    said: Any = {"model": model, "messages": PROMPT, "stream": stream}
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as opened:
        client: Any = opened
        reply = await client.chat.completions.create(**said)
        if not stream:
            return reply.choices[0].message.content
        chunks: list[Any] = [chunk async for chunk in reply]
    assert all(chunk.choices for chunk in chunks), "the event of the usage was not asked for"
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


async def _ask_gemini(url: str, key: str, model: str, stream: bool) -> str:
    options = google.HttpOptions(base_url=url, api_version="v1beta")
    client: Any = genai.Client(api_key=key, http_options=options)
    try:
        asking: Any = {"model": model, "contents": "How much?"}
        if not stream:
            reply = await client.aio.models.generate_content(**asking)
            return reply.candidates[0].content.parts[0].text
        texts: list[str] = []
        async for piece in await client.aio.models.generate_content_stream(**asking):
            parts: Any = piece.candidates[0].content.parts if piece.candidates else None
            texts += [part.text for part in parts or [] if part.text]
        return "".join(texts)
    finally:
        await client.aio.aclose()
        client.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_sdk_asks_with_a_platform_key_and_the_provider_gets_its_own(
    platform: Gatewayed, dialect: Dialect, stream: bool
) -> None:
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server, ["big-model"])
        text = await ask(dialect, platform.url, platform.key, model_for(dialect), stream=stream)
        [request] = server.requests
        [row] = await platform.rows()
    assert text == "The answer is 42."
    assert request.model == "big-model"
    assert platform.key not in str(request.headers)
    assert (row["model"], row["dialect"], row["status"]) == (
        model_for(dialect),
        dialect.value,
        200,
    )
    assert (row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"]) == (20, 7, 4)
    assert row["key_id"] == platform.key_id
    assert row["error"] is None
