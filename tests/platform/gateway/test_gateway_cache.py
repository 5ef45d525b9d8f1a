"""Answers that are asked for again come from the disk, when the client says so."""

from __future__ import annotations

from typing import Any

import pytest

from hud.models.provider import Dialect
from hud.testing.model_server import ApiError, HangUp, ModelServer, Reply, Say
from tests.platform.gateway.asking import PROMPT, add_all, model_for
from tests.platform.gateway.gatewayed import PROVIDER_KEY, Gatewayed

SAID = Say("x", prompt_tokens=60, completion_tokens=40)
ON = {"X-HUD-Cache": "on"}


def body(dialect: Dialect = Dialect.CHAT, **more: Any) -> dict[str, Any]:
    return {"model": model_for(dialect), "messages": PROMPT, "max_tokens": 40, **more}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.MESSAGES])
async def test_the_same_question_is_paid_for_once(
    platform: Gatewayed, dialect: Dialect, stream: bool
) -> None:
    platform.budget("team", max_tokens=150)
    path = "/chat/completions" if dialect is Dialect.CHAT else "/v1/messages"
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            asked = body(dialect, stream=stream)
            first = await client.post(path, json=asked, headers=ON)
            second = await client.post(path, json=dict(reversed(asked.items())), headers=ON)
            third = await client.post(path, json=asked, headers=ON)
        assert server.received == 1
        rows = await platform.rows()
    found = [each.headers["x-hud-cache"] for each in (first, second, third)]
    assert found == ["miss", "hit", "hit"]
    assert first.content == second.content == third.content
    assert first.headers["content-type"] == second.headers["content-type"]
    assert [row["is_cached"] for row in rows] == [0, 1, 1]
    assert [row["prompt_tokens"] for row in rows] == [60, 60, 60]
    assert [row["cost_usd"] for row in rows[1:]] == [0, 0]


async def test_claude_on_chat_is_kept_as_the_client_got_it(platform: Gatewayed) -> None:
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            asked = body(Dialect.MESSAGES)
            first = await client.post("/chat/completions", json=asked, headers=ON)
            second = await client.post("/chat/completions", json=asked, headers=ON)
        assert server.received == 1
    assert second.json()["choices"] == first.json()["choices"]


async def test_another_question_another_team_and_no_header_find_nothing(
    platform: Gatewayed,
) -> None:
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        theirs = ["chat/big-model=big-model"]
        platform.add("openai", "openai", server.base_url("chat"), theirs, team="b")
        key = platform.make_key("b")
        async with platform.http() as client:
            await client.post("/chat/completions", json=body(), headers=ON)
            other = await client.post("/chat/completions", json=body(seed=1), headers=ON)
            plain = await client.post("/chat/completions", json=body())
            stranger = await client.post(
                "/chat/completions", json=body(), headers={**ON, "authorization": f"Bearer {key}"}
            )
        assert server.received == 4
    assert "x-hud-cache" not in plain.headers
    assert (other.headers["x-hud-cache"], stranger.headers["x-hud-cache"]) == ("miss", "miss")


@pytest.mark.parametrize(
    "failure",
    [ApiError(400, "no"), ApiError(500, "oops", after_events=1), HangUp(after_events=1)],
    ids=["refused", "failed in the middle", "cut"],
)
async def test_failures_are_not_kept(platform: Gatewayed, failure: Reply) -> None:
    said: list[Reply] = [failure, SAID]
    async with ModelServer(lambda question: said.pop(0), api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            asked = body(stream=True)
            try:
                async with client.stream(
                    "POST", "/chat/completions", json=asked, headers=ON
                ) as reply:
                    await reply.aread()
            except Exception:
                assert isinstance(failure, HangUp)
            again = await client.post("/chat/completions", json=asked, headers=ON)
        assert server.received == 2
    assert again.headers["x-hud-cache"] == "miss"
