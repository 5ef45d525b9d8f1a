"""The gateway on PostgreSQL, and two servers of one team beside each other."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from hud.models.provider import Dialect
from hud.platform.gateway import budgets
from hud.testing.model_server import ModelServer, Say
from tests.platform.gateway.asking import PROMPT, add_all, model_for
from tests.platform.gateway.gatewayed import PROVIDER_KEY, gatewayed
from tests.postgres import running_postgres

SAID = Say("x", prompt_tokens=30, completion_tokens=40)
BODY = {"model": model_for(Dialect.CHAT), "messages": PROMPT, "max_tokens": 40}


@pytest.fixture
def database() -> Generator[str]:
    with running_postgres() as server, server.database() as url:
        yield url


async def test_two_servers_share_providers_rows_and_budgets(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_SECRET_KEY", "one key for both of the servers")
    monkeypatch.setattr(budgets, "FRESH_S", 0.0)
    monkeypatch.setattr(budgets, "_COUNTED_ANEW_S", 0.0)
    async with (
        ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as models,
        gatewayed(tmp_path / "one", database=database) as one,
        gatewayed(tmp_path / "two", database=database) as two,
    ):
        add_all(one, models)
        one.budget("team", max_tokens=200)
        statuses: list[int] = []
        for server in (one, two, one, two, one):
            async with server.http() as client:
                statuses.append((await client.post("/chat/completions", json=BODY)).status_code)
            await server.gateway.usage.flush()
        rows = await one.rows()
        async with one.http() as client:
            shown = await client.get(f"{one.origin}/v2/usage", params={"group_by": "key"})
            spent = await client.get(f"{one.origin}/v2/budgets")
    assert statuses == [200, 200, 200, 402, 402]
    assert len(rows) == 3
    assert shown.json()["total"]["prompt_tokens"] == 90
    assert sorted(item["calls"] for item in shown.json()["items"]) == [1, 2]
    assert spent.json()["items"][0]["spent_tokens"] == 210
