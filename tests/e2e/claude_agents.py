"""What the tests of the Messages API agent share: agents, and replies piece by piece."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hud._core.errors import Fault
from hud.agents.claude import ClaudeAgent
from hud.agents.types import ClaudeConfig
from hud.testing.model_server import (
    ModelServer,
    RawReply,
)
from tests.e2e.asking_models import KEY, asked


def agent_for(server: ModelServer, tools: Any = (), **config: Any) -> ClaudeAgent:
    config.setdefault("base_url", server.base_url("messages"))
    return ClaudeAgent(ClaudeConfig(**config), tools=tools)


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
