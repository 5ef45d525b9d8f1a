"""What the tests of the Gemini agent share: agents on a server, runs without an environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hud._core.settings import Settings
from hud.agents.gemini import GeminiAgent
from hud.agents.run import Run
from hud.agents.types import GeminiConfig
from hud.testing.model_server import ModelServer, RawReply
from hud.trace.steps import AgentStep, ToolStep

KEY = "a-key-that-must-not-leak"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="

MakeAgent = Callable[..., GeminiAgent]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine reaches a test."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)
    for name in ("GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def agent_for(bare: None, monkeypatch: pytest.MonkeyPatch) -> MakeAgent:
    """Make agents that ask a server."""

    def make(server: ModelServer, *, tools: Any = (), **config: Any) -> GeminiAgent:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.base_url("gemini"))
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        agent = GeminiAgent(GeminiConfig(**config), tools=tools)
        agent.check_ready()
        return agent

    return make


def asked(prompt: Any = "How many 'r's are in 'strawberry'?", **agent_config: Any) -> Run:
    run = Run(None, "count", {})
    run.slug, run.prompt, run.agent_config = "count-1", prompt, agent_config or None
    return run


def turns(run: Run) -> list[AgentStep]:
    return [step for step in run.trace.steps if isinstance(step, AgentStep)]


def results(run: Run) -> list[str]:
    """Return the text of every tool result, oldest first."""
    return [
        "".join(getattr(block, "text", "") for block in step.result.content)
        for step in run.trace.steps
        if isinstance(step, ToolStep) and step.result is not None
    ]


def reply(*parts: dict[str, Any], finish: str = "STOP", **candidate: Any) -> RawReply:
    """Return an answer of these parts."""
    content = {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    said = {**content, "finishReason": finish, "index": 0, **candidate}
    usage = {"promptTokenCount": 7, "totalTokenCount": 7}
    return whole({"candidates": [said], "usageMetadata": usage, "modelVersion": "m"})


def whole(body: Any) -> RawReply:
    return RawReply(json.dumps(body).encode())
