"""The providers' own SDKs as clients of one server, which answers what a test puts into it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from anthropic import AsyncAnthropic
from google.genai import Client
from google.genai.types import HttpOptions
from openai import AsyncOpenAI

from hud.testing.model_server import ModelServer, letter_count


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer(letter_count) as held:
        yield held


@pytest.fixture
async def openai(server: ModelServer) -> AsyncIterator[AsyncOpenAI]:
    url = server.base_url("chat")
    async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as held:
        yield held


@pytest.fixture
async def anthropic(server: ModelServer) -> AsyncIterator[AsyncAnthropic]:
    url = server.base_url("messages")
    async with AsyncAnthropic(base_url=url, api_key="any", max_retries=0) as held:
        yield held


@pytest.fixture
async def google(server: ModelServer) -> AsyncIterator[Client]:
    options = HttpOptions(base_url=server.base_url("gemini"))
    client = Client(api_key="any", http_options=options, vertexai=False)
    yield client
    await client.aio.aclose()
    client.close()
