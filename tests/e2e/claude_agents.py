"""What the tests of the Messages API agent share: agents, runs, and replies piece by piece."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from hud import Run
from hud._core.errors import Fault
from hud._core.settings import Settings
from hud.agents.claude import ClaudeAgent
from hud.agents.types import ClaudeConfig
from hud.testing.model_server import (
    ModelServer,
    RawReply,
)
from hud.trace.steps import AgentStep, ToolStep

KEY = "a-key-that-must-not-leak"
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
        "3a7e9b550000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
    )
).decode()


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine reaches a test."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.chdir(tmp_path)


def agent_for(server: ModelServer, tools: Any = (), **config: Any) -> ClaudeAgent:
    config.setdefault("base_url", server.base_url("messages"))
    return ClaudeAgent(ClaudeConfig(**config), tools=tools)


def asked(prompt: Any = "How many 'r's are in 'strawberry'?", **agent_config: Any) -> Run:
    run = Run(None, "count", {})
    run.slug, run.prompt, run.agent_config = "count-1", prompt, agent_config or None
    return run


def turns(run: Run) -> list[AgentStep]:
    return [step for step in run.trace.steps if isinstance(step, AgentStep)]


def results(run: Run) -> list[ToolStep]:
    return [step for step in run.trace.steps if isinstance(step, ToolStep)]


def block(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def streamed(*events: dict[str, Any]) -> RawReply:
    """Return a reply of these events after the one that begins it."""
    message: dict[str, Any] = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": [],
        "usage": {"input_tokens": 5, "output_tokens": 1},
    }
    start: dict[str, Any] = {"type": "message_start", "message": message}
    return RawReply(b"".join(map(block, (start, *events))), content_type="text/event-stream")


def part(index: int, begun: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": "content_block_delta", "index": index, "delta": each} for each in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ended(reason: str, **details: Any) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None, **details}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]


async def fault_of(reply: Any, **config: Any) -> Fault:
    """Return the fault that a reply of the server ends a run with."""
    config.setdefault("model_retries", 0)
    async with ModelServer(lambda question: reply) as server:
        with pytest.raises(Fault) as caught:
            await agent_for(server, api_key=KEY, **config)(asked())
    assert KEY not in caught.value.message + str(caught.value.hint)
    return caught.value


def add(one: int, two: int) -> int:
    """Add two numbers."""
    return one + two


def server_results(server: ModelServer, number: int) -> Any:
    """Return the results that a request ended with, as the server's rule would see them."""
    from hud.testing.model_server.messages import MessagesWire

    return MessagesWire().read(server.requests[number]).last_results
