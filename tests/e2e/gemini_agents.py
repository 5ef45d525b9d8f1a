"""What the tests of the Gemini agent share: agents on a server, and its replies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from hud.agents.gemini import GeminiAgent
from hud.agents.types import GeminiConfig
from hud.testing.model_server import ModelServer, RawReply
from tests.e2e.asking_models import KEY

MakeAgent = Callable[..., GeminiAgent]


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


def reply(*parts: dict[str, Any], finish: str = "STOP", **candidate: Any) -> RawReply:
    """Return an answer of these parts."""
    content = {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    said = {**content, "finishReason": finish, "index": 0, **candidate}
    usage = {"promptTokenCount": 7, "totalTokenCount": 7}
    return whole({"candidates": [said], "usageMetadata": usage, "modelVersion": "m"})


def whole(body: Any) -> RawReply:
    return RawReply(json.dumps(body).encode())
