"""A team reaches its own providers only; which one a name means; what comes of a change."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import httpx
import pytest

from hud.models.provider import Dialect
from hud.platform.gateway.tables import providers
from hud.testing.model_server import ModelServer
from tests.platform.gateway.asking import PROMPT, add_all, model_for
from tests.platform.gateway.gatewayed import PROVIDER_KEY, Gatewayed, gatewayed
from tests.platform.gateway.raw_provider import RawProvider, Request, says

LIST = b'{"object":"list","data":[{"id":"qwen3","object":"model"},{"id":"acme/tiny"}]}'


async def ask(client: httpx.AsyncClient, model: str) -> httpx.Response:
    return await client.post("/chat/completions", json={"model": model, "messages": PROMPT})


async def test_a_team_sees_and_calls_its_own_models_only(platform: Gatewayed) -> None:
    stranger = platform.make_key("stranger")
    async with ModelServer(lambda question: "x", api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http(authorization=f"Bearer {stranger}") as client:
            listed = await client.get("/models")
            called = await ask(client, model_for(Dialect.CHAT))
            prefixed = await ask(client, "openai/big-model")
        assert server.requests == []
        rows = await platform.rows("stranger")
    assert listed.json()["data"] == []
    assert (called.status_code, prefixed.status_code) == (404, 404)
    assert rows == []


async def test_a_provider_that_lists_nothing_serves_any_name_of_its_own(
    platform: Gatewayed,
) -> None:
    async with ModelServer(lambda question: "x", api_key=PROVIDER_KEY) as server:
        platform.add("anthropic", "anthropic", server.base_url("messages"))
        platform.add("openai", "openai", server.base_url("chat"))
        async with platform.http() as client:
            names = ["claude-haiku-4-5", "gpt-5.6", "openai/whatever/it-is", "claude", "openai"]
            replies = [await ask(client, name) for name in names]
        asked = [request.model for request in server.requests]
    assert [reply.status_code for reply in replies] == [200] * len(names)
    assert asked[:3] == ["claude-haiku-4-5", "gpt-5.6", "whatever/it-is"]
    assert asked[3].startswith("claude-sonnet")
    assert asked[4].startswith("gpt-")


async def test_a_provider_that_lists_models_serves_those_alone(platform: Gatewayed) -> None:
    async with ModelServer(lambda question: "x", api_key=PROVIDER_KEY) as server:
        platform.add("mine", "openai", server.base_url("chat"), ["a/b=real", "plain"])
        async with platform.http() as client:
            statuses = {
                name: (await ask(client, name)).status_code
                for name in ("a/b", "plain", "mine/a/b", "mine/real", "mine/other", "real")
            }
            alias = await ask(client, "openai_compatible")
        asked = [request.model for request in server.requests]
    assert statuses == {
        "a/b": 200,
        "plain": 200,
        "mine/a/b": 200,
        "mine/real": 200,
        "mine/other": 404,
        "real": 404,
    }
    assert alias.status_code == 200
    assert asked == ["real", "plain", "real", "real", "real"]


async def test_a_server_of_ones_own_is_asked_which_models_it_has(platform: Gatewayed) -> None:
    async def rule(request: Request, writer: object) -> None:
        said = LIST if request.line.startswith("GET /v1/models ") else b'{"choices":[]}'
        await says(said)(request, writer)  # pyright: ignore[reportArgumentType]

    async with RawProvider(rule) as provider, platform.http() as client:
        platform.add("local", "openai", f"{provider.url}/v1", key=None)
        listed = (await client.get("/models")).json()["data"]
        called = await ask(client, "acme/tiny")
        posted = json.loads(provider.requests[-1].body)
    assert [model["id"] for model in listed] == ["qwen3", "acme/tiny"]
    assert called.status_code == 200
    assert posted["model"] == "acme/tiny"
    assert "authorization" not in provider.requests[-1].headers


async def test_a_server_that_is_down_does_not_hide_the_others(platform: Gatewayed) -> None:
    async with ModelServer(lambda question: "x", api_key=PROVIDER_KEY) as server:
        platform.add("down", "openai", "http://127.0.0.1:9/v1")
        platform.add("up", "openai", server.base_url("chat"), ["m"])
        async with platform.http() as client:
            assert (await ask(client, "m")).status_code == 200


async def test_a_change_by_another_process_is_seen(platform: Gatewayed) -> None:
    platform.gateway.directory.forget = _nothing
    async with (
        ModelServer(lambda question: "x", api_key=PROVIDER_KEY) as server,
        platform.http() as client,
    ):
        assert (await ask(client, "m")).status_code == 404
        platform.add("late", "openai", server.base_url("chat"), ["m"])
        async with asyncio.timeout(60):
            while (reply := await ask(client, "m")).status_code == 404:
                pass
    assert reply.status_code == 200


async def test_a_key_that_cannot_be_decrypted_is_said_and_others_go_on(
    platform: Gatewayed,
) -> None:
    async with ModelServer(lambda question: "x", api_key=PROVIDER_KEY) as server:
        platform.add("bad", "openai", server.base_url("chat"), ["m"])
        platform.add("good", "openai", server.base_url("chat"), ["n"])
        with platform.services.database.writing() as connection:
            connection.execute(
                providers.update().where(providers.c.name == "bad").values(secret="gAAAAA")
            )
        platform.gateway.directory.forget("local")
        async with platform.http() as client:
            bad, good = await ask(client, "m"), await ask(client, "n")
    assert (bad.status_code, good.status_code) == (503, 200)
    assert "encrypted with another key" in bad.json()["error"]["message"]


async def test_keys_of_the_environment_serve_the_local_team_when_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ModelServer(lambda question: "x", api_key=PROVIDER_KEY) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", PROVIDER_KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.base_url("messages"))
        statuses: list[int] = []
        for is_on in (False, True):
            async with gatewayed(tmp_path / str(is_on), env_providers=is_on) as platform:
                other = platform.make_key("other-team")
                for key in (platform.key, other):
                    async with platform.http(authorization=f"Bearer {key}") as client:
                        statuses.append((await ask(client, "claude-haiku-4-5")).status_code)
                for path in platform.services.config.home.rglob("*"):
                    if path.is_file():
                        assert PROVIDER_KEY.encode() not in path.read_bytes()
    assert statuses == [404, 404, 200, 404]
    assert os.environ["ANTHROPIC_API_KEY"] == PROVIDER_KEY


def _nothing(team: str) -> None:
    pass
