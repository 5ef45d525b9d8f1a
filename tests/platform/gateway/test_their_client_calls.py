"""The published client lists our models and calls them in every dialect, unchanged."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from hud._core.ids import new_id
from hud.testing.model_server import ModelServer, Say
from tests.platform.gateway.gatewayed import PROVIDER_KEY
from tests.platform.gateway.threaded import model_server
from tests.platform.programs import Published
from tests.platform.server import Server

SAID = Say("The answer is 42.", prompt_tokens=20, completion_tokens=7)
CALLS = """
import asyncio, json, sys
from hud.telemetry.context import set_trace_context
from hud.utils.gateway import build_gateway_client

ASKED = [{"role": "user", "content": "How much?"}]


async def main(trace_id):
    said = {}
    with set_trace_context(trace_id):
        openai = build_gateway_client("openai")
        reply = await openai.responses.create(model="gpt-5.6", input="How much?")
        said["responses"] = reply.output_text
        later = await openai.responses.create(
            model="gpt-5.6", input="Sure?", previous_response_id=reply.id
        )
        said["later"] = later.output_text
        for model in ("gpt-5.6", "claude-haiku-4-5"):
            reply = await openai.chat.completions.create(model=model, messages=ASKED)
            said["chat " + model] = reply.choices[0].message.content
        claude = build_gateway_client("anthropic")
        async with claude.messages.stream(
            model="claude-haiku-4-5", max_tokens=9, messages=ASKED
        ) as stream:
            said["messages"] = await stream.get_final_text()
        gemini = build_gateway_client("gemini")
        text = ""
        async for piece in await gemini.aio.models.generate_content_stream(
            model="gemini-3.1-pro-preview", contents="How much?"
        ):
            text += piece.text or ""
        said["gemini"] = text
    print(json.dumps(said))


asyncio.run(main(sys.argv[1]))
"""


class Theirs(Published):
    """The published client with a key of one team, and providers behind that team's names."""

    def __init__(self, python: Path, server: Server, folder: Path, models: ModelServer) -> None:
        super().__init__(python, server, folder, server.key(team="their-calls"))
        with server.client(self.key) as client:
            for name, dialect, kind in (
                ("openai", "openai", "responses"),
                ("anthropic", "anthropic", "messages"),
                ("google", "gemini", "gemini"),
            ):
                body = {"base_url": models.base_url(kind), "api_key": PROVIDER_KEY}
                reply = client.put(f"/v2/providers/{name}", json={**body, "dialect": dialect})
                assert reply.status_code == 200, reply.text

    def read(self, *words: str) -> Any:
        """Run their interpreter and return the JSON that it printed."""
        return json.loads(self.run(*words))


@pytest.fixture
def theirs(peer_python: Path, server: Server, tmp_path: Path) -> Generator[Theirs]:
    with model_server(lambda question: SAID, api_key=PROVIDER_KEY) as models:
        yield Theirs(peer_python, server, tmp_path, models)


def test_their_list_of_models_is_ours(theirs: Theirs) -> None:
    listed: Any = theirs.read("-m", "hud.cli", "models", "list", "--json")
    found: list[dict[str, Any]] = listed
    kinds = {model["model_name"]: model["sdk_agent_type"] for model in found}
    assert kinds["claude-haiku-4-5"] == "claude"
    assert kinds["gpt-5.6"] == "openai"
    assert kinds["gemini-3.1-pro-preview"] == "gemini"


def test_their_calls_are_answered_and_linked_to_their_trace(theirs: Theirs, server: Server) -> None:
    trace_id = new_id()
    said = theirs.read("-c", CALLS, trace_id)
    assert set(said.values()) == {"The answer is 42."}
    assert len(said) == 6
    with server.client(theirs.key) as client:
        total = client.get("/v2/usage", params={"trace": trace_id}).json()["total"]
    assert (total["calls"], total["failed_calls"]) == (6, 0)
    assert (total["prompt_tokens"], total["completion_tokens"]) == (120, 42)
    assert total["cost_usd"] > 0
