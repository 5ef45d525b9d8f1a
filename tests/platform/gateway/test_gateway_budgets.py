"""Budgets stop calls before they are made, by name, and many at once do not slip through."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from hud._core.ids import new_id
from hud.models.provider import Dialect
from hud.platform.gateway import budgets
from hud.platform.gateway.budgets import BudgetScope
from hud.platform.gateway.tables import runs
from hud.store import LOCAL_TEAM
from hud.testing.model_server import ModelServer, Question, Say
from tests.platform.gateway.asking import PROMPT, add_all, model_for
from tests.platform.gateway.gatewayed import PROVIDER_KEY, Gatewayed
from tests.platform.gateway.raw_provider import STREAM, RawProvider, Request, chunk

SAID = Say("x", prompt_tokens=60, completion_tokens=40)
SMALL = Say("x", prompt_tokens=30, completion_tokens=40)
DIALECTS = list(Dialect)


async def call(client: httpx.AsyncClient, dialect: Dialect = Dialect.CHAT) -> httpx.Response:
    model = model_for(dialect)
    match dialect:
        case Dialect.CHAT:
            body: dict[str, Any] = {"model": model, "messages": PROMPT, "max_tokens": 40}
            return await client.post("/chat/completions", json=body)
        case Dialect.RESPONSES:
            body = {"model": model, "input": "x", "max_output_tokens": 40}
            return await client.post("/responses", json=body)
        case Dialect.MESSAGES:
            body = {"model": model, "messages": PROMPT, "max_tokens": 40}
            return await client.post("/v1/messages", json=body)
        case Dialect.GEMINI:
            parts = [{"text": "x"}]
            body = {
                "contents": [{"role": "user", "parts": parts}],
                "generationConfig": {"maxOutputTokens": 40},
            }
            return await client.post(f"/v1beta/models/{model}:generateContent", json=body)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_call_beyond_the_budget_is_refused_before_it_is_made(
    platform: Gatewayed, dialect: Dialect
) -> None:
    platform.budget("team", max_tokens=150)
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            replies = [await call(client, dialect) for _ in range(3)]
        assert server.received == 2
        rows = await platform.rows()
    assert [reply.status_code for reply in replies] == [200, 200, 402]
    assert replies[2].headers["x-should-retry"] == "false"
    error = replies[2].json()["error"]
    assert "the team's budget is used up: 150 tokens" in error["message"]
    assert len(rows) == 2, "a call that was never made is not written down"
    match dialect:
        case Dialect.MESSAGES:
            assert error["type"] == "billing_error"
        case Dialect.GEMINI:
            assert error["code"] == 402
        case _:
            assert error["code"] == "budget_exhausted"


@pytest.mark.parametrize("scope", ["key", "run", "job"])
async def test_a_budget_holds_for_its_own_key_run_or_job_alone(
    platform: Gatewayed, scope: BudgetScope
) -> None:
    run_id, other_run, job_id = new_id(), new_id(), new_id()
    with platform.services.database.writing() as connection:
        for each, job in ((run_id, job_id), (other_run, new_id())):
            row = {"team": LOCAL_TEAM, "id": each, "job_id": job, "task_slug": "t", "member": 0}
            more = {"attempt": 1, "status": "running", "started_at": 1}
            connection.execute(runs.insert().values(**row, **more))
    subject = {"key": platform.key_id, "run": run_id, "job": job_id}[scope]
    platform.budget(scope, subject, max_tokens=50)
    other_key = platform.make_key() if scope == "key" else platform.key
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http(**{"trace-id": run_id}) as mine:
            first, second = await call(mine), await call(mine)
        shown = {"trace-id": other_run, "authorization": f"Bearer {other_key}"}
        async with platform.http(**shown) as others:
            third, fourth = await call(others), await call(others)
    assert [each.status_code for each in (first, second)] == [200, 402]
    assert f"the budget of this {scope} is used up" in second.json()["error"]["message"]
    assert [each.status_code for each in (third, fourth)] == [200, 200]


async def test_many_calls_at_once_overshoot_by_what_is_in_flight_at_most(
    platform: Gatewayed,
) -> None:
    platform.budget("team", max_tokens=1_000)
    at_once = most = 0

    async def rule(question: Question) -> Say:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return SMALL

    async with ModelServer(rule, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            client.timeout = httpx.Timeout(120)
            replies = await asyncio.gather(*(call(client) for _ in range(60)))
        answered = [reply for reply in replies if reply.status_code == 200]
        refused = [reply for reply in replies if reply.status_code == 402]
        rows = await platform.rows()
    assert len(answered) + len(refused) == 60, "waiting calls are let in or refused for good"
    spent = sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows)
    # Each reserves no less than the 70 it takes: the one that is let in below the limit may end
    # above it, no other one.
    assert 1_000 <= spent < 1_070
    assert len(answered) == server.received == spent // 70
    assert most > 1, "calls wait only for what they could not all spend"


async def test_what_was_spent_is_known_after_a_start_and_money_counts(
    platform: Gatewayed,
) -> None:
    said = Say("x", prompt_tokens=100_000, completion_tokens=10_000)
    async with ModelServer(lambda question: said, api_key=PROVIDER_KEY) as server:
        platform.add("anthropic", "anthropic", server.base_url("messages"))
        body = {"model": "claude-haiku-4-5", "messages": PROMPT, "max_tokens": 10}
        async with platform.http() as client:
            platform.budget("team", max_cost_usd=100.0)
            await client.post("/v1/messages", json=body)
            [row] = await platform.rows()
            platform.gateway.calls.budgets._teams.clear()  # pyright: ignore[reportPrivateUsage]
            platform.budget("team", max_cost_usd=row["cost_usd"])
            refused = await client.post("/v1/messages", json=body)
            platform.budget("team", max_cost_usd=row["cost_usd"] * 1.01)
            again = await client.post("/v1/messages", json=body)
    assert row["cost_usd"] > 0.1
    assert (refused.status_code, again.status_code) == (402, 200)


async def test_going_away_early_is_no_way_around_a_budget(platform: Gatewayed) -> None:
    piece = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'

    async def endless(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(piece) * 200)
        await writer.drain()
        await asyncio.Event().wait()

    platform.budget("team", max_tokens=100)
    async with RawProvider(endless) as provider, platform.http() as client:
        platform.add("raw", "openai", f"{provider.url}/v1", ["m"])
        body: dict[str, Any] = {"model": "m", "messages": PROMPT, "stream": True, "max_tokens": 9}
        seen = b""
        async with client.stream("POST", "/chat/completions", json=body) as reply:
            async for data in reply.aiter_raw():
                seen += data
                if seen.count(b"content") == 200:
                    break
        row = await platform.next_row()
        refused = await client.post("/chat/completions", json=body)
    assert row["completion_tokens"] == 200
    assert refused.status_code == 402


async def test_calls_that_wait_for_others_in_vain_are_told_to_come_back(
    platform: Gatewayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "_WAIT_S", 0.05)
    platform.budget("team", max_tokens=10)
    arrived, may_end = asyncio.Event(), asyncio.Event()

    async def rule(question: Question) -> Say:
        arrived.set()
        await may_end.wait()
        return SAID

    async with ModelServer(rule, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            first = asyncio.ensure_future(call(client))
            await arrived.wait()
            second = await call(client)
            may_end.set()
            assert (await first).status_code == 200
            third = await call(client)
    assert (second.status_code, second.headers["retry-after"]) == (429, "5")
    assert "calls in flight hold all that is left" in second.json()["error"]["message"]
    assert third.status_code == 402
