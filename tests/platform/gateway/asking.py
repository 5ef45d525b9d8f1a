"""Ask the gateway as each provider's own SDK does."""

from __future__ import annotations

from typing import Any

from anthropic import AsyncAnthropic
from google import genai
from google.genai import types as google
from openai import AsyncOpenAI

from hud.models.provider import Dialect
from hud.testing.model_server import ModelServer
from tests.platform.gateway.gatewayed import Gatewayed

PROMPT: list[Any] = [{"role": "user", "content": "How much?"}]
MODEL = "big-model"


def add_all(platform: Gatewayed, server: ModelServer, models: list[str] | None = None) -> None:
    """Add a provider of every dialect in front of one server."""
    for name, dialect, kind in (
        ("openai", "openai", Dialect.CHAT),
        ("anthropic", "anthropic", Dialect.MESSAGES),
        ("google", "gemini", Dialect.GEMINI),
    ):
        listed = [f"{kind.value}/{model}={model}" for model in models or [MODEL]]
        platform.add(name, dialect, server.base_url(kind), listed)


def model_for(dialect: Dialect) -> str:
    """Return the name of the model behind a dialect."""
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
            held: Any = piece.candidates[0].content.parts if piece.candidates else None
            parts: list[Any] = held or []
            texts += [part.text for part in parts if part.text]
        return "".join(texts)
    finally:
        await client.aio.aclose()
        client.close()
