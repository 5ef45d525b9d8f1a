"""What the tests of the Responses agent share: agents on a server, and its replies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from hud.agents.openai import OpenAIAgent
from hud.agents.types import OpenAIConfig
from hud.testing.model_server import ModelServer, RawReply
from tests.e2e.asking_models import KEY

MakeAgent = Callable[..., OpenAIAgent]


@pytest.fixture
def agent_for(bare: None, monkeypatch: pytest.MonkeyPatch) -> MakeAgent:
    """Make agents that ask a server."""

    def make(server: ModelServer, *, tools: Any = (), **config: Any) -> OpenAIAgent:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url("responses"))
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        agent = OpenAIAgent(OpenAIConfig(**config), tools=tools)
        agent.check_ready()
        return agent

    return make


def reply(*output: dict[str, Any], **fields: Any) -> RawReply:
    """Return a response with exactly this output."""
    body = {"id": "resp_raw", "object": "response", "status": "completed", "model": "m", **fields}
    return RawReply(json.dumps({**body, "output": list(output)}).encode())
