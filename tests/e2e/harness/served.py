"""A model server whose conversations are kept, and the four dialects' agents on it, priced."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from hud.agents.api_agent import ApiAgent
from hud.agents.create import create_agent
from hud.agents.openai_chat import OpenAIChatAgent
from hud.agents.types import OpenAIChatConfig
from hud.testing.model_server import ModelServer, Question, Reply, Rule, Say
from tests.bare import forget_settings
from tests.e2e.harness.policies import Policy
from tests.rollouts import recorded_in

KEY = "a-key-that-must-not-leak"
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
AGENTS = {
    "openai_compatible": ["openai_compatible", "--model", "gpt-5.4-mini"],
    "claude": ["claude"],
    "openai": ["openai", "--model", "gpt-5.6"],
    "gemini": ["gemini-3.1-pro-preview"],
}
"""How the command line is told of an agent of each dialect: by its name, or by its model's."""

MODELS = {
    "messages": "claude-sonnet-4-6",
    "responses": "gpt-5.6",
    "chat": "gpt-5.4-mini",
    "gemini": "gemini-3.1-pro-preview",
}
PROVIDERS = {
    "messages": "anthropic",
    "responses": "openai",
    "chat": "openai",
    "gemini": "google",
}


@dataclass
class Heard:
    """One question and what was said to it."""

    question: Question
    said: Say


@dataclass
class Conversations:
    """A policy that says what each answer cost, and keeps what it was asked.

    Attributes:
        heard: By the prompt; oldest first.
    """

    policy: Policy
    heard: dict[str, list[Heard]] = field(default_factory=dict[str, list[Heard]])

    def __call__(self, question: Question) -> Say:
        said = self.policy(question)
        turns = self.heard.setdefault(question.turns[0].text, [])
        number = len(turns) + 1
        said = replace(
            said.with_ids(f"call_{id(self):x}_{len(self.heard)}_{number}"),
            prompt_tokens=2_000 + 100 * number,
            cached_tokens=1_000,
            completion_tokens=50 + number,
        )
        turns.append(Heard(question, said))
        return said


def agent_of(dialect: str, **config: Any) -> ApiAgent[Any, Any]:
    """Return the agent of a dialect, by its model's name alone where that says enough."""
    settings: dict[str, Any] = {"model": MODELS[dialect], "max_steps": 30, **config}
    if dialect == "chat":
        return OpenAIChatAgent(OpenAIChatConfig(**settings))
    return create_agent(**settings)


@contextlib.contextmanager
def bare_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Record in a folder of the test's own; no setting of this machine reaches it."""
    forget_settings(monkeypatch)
    for name in KEYS:
        monkeypatch.setenv(name, KEY)
    with recorded_in(folder, monkeypatch) as home:
        home.mkdir()
        yield home


def write_providers(home: Path, server: ModelServer) -> None:
    """Have every provider's models asked for at a server: its prices are then the provider's."""
    rows = [
        f'[providers.{provider}]\nbase_url = "{server.base_url(dialect)}"\n'
        for dialect, provider in PROVIDERS.items()
        if dialect != "chat"
    ]
    (home / "models.toml").write_text("\n".join(rows))


@contextlib.asynccontextmanager
async def provider(home: Path, rule: Rule) -> AsyncGenerator[ModelServer]:
    """Serve a rule as every provider."""
    async with ModelServer(rule, api_key=KEY) as server:
        write_providers(home, server)
        yield server


@contextlib.contextmanager
def in_thread(rule: Rule, **options: Any) -> Generator[ModelServer]:
    """Serve a rule from a thread, for clients in other processes."""
    server = ModelServer(rule, **options)
    ready, done = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with server:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield server
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def replies(*first: Reply, then: Rule) -> Rule:
    """Answer the first questions with these, and then by a rule."""
    left = list(first)
    return lambda question: left.pop(0) if left else then(question)


def variables(server: ModelServer) -> Mapping[str, str]:
    """Return what has a process ask a server for every provider's models."""
    return {
        "OPENAI_BASE_URL": server.base_url("chat"),
        "ANTHROPIC_BASE_URL": server.base_url("messages"),
        "GOOGLE_GEMINI_BASE_URL": server.base_url("gemini"),
        **dict.fromkeys(KEYS, KEY),
        "NO_PROXY": "127.0.0.1,localhost",
    }
