"""`hud usage` and `hud budgets` show and limit what the gateway meters."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hud.models.provider import Dialect
from hud.testing.model_server import ModelServer, Say
from tests.e2e.hud_command import Result, Shell
from tests.platform.gateway.asking import PROMPT, add_all, model_for
from tests.platform.gateway.gatewayed import PROVIDER_KEY, Gatewayed

SAID = Say("x", prompt_tokens=60, completion_tokens=40)
CHAT: dict[str, Any] = {"model": model_for(Dialect.CHAT), "messages": PROMPT, "max_tokens": 40}


@pytest.fixture
def shell(tmp_path: Path, platform: Gatewayed) -> Shell:
    shell = Shell(tmp_path)
    admin = platform.make_key(scopes=("read", "admin"))
    shell.env |= {"HUD_API_URL": platform.origin, "HUD_API_KEY": admin}
    return shell


async def run(shell: Shell, *words: str) -> Result:
    return await asyncio.to_thread(shell, *words)


async def test_usage_is_summed_by_what_is_asked(shell: Shell, platform: Gatewayed) -> None:
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            for _ in range(2):
                (await client.post("/chat/completions", json=CHAT)).raise_for_status()
    shown = await run(shell, "usage", "--by", "model", "--by", "status")
    assert shown.code == 0, shown.err
    header, first, total = (line.split() for line in shown.out.splitlines())
    assert header[:3] == ["MODEL", "STATUS", "CALLS"]
    assert first[1:6] == ["200", "2", "0", "0", "120"]
    assert total[:5] == ["all", "2", "0", "0", "120"]
    assert "2 calls of unknown price" in shown.err
    data = (await run(shell, "usage", "--json")).data
    assert data["total"]["completion_tokens"] == 80
    nothing = (await run(shell, "usage", "--until", "2020-01-01", "--json")).data
    assert nothing["total"]["calls"] == 0 and nothing["items"] == []


async def test_a_budget_is_set_listed_kept_to_and_removed(
    shell: Shell, platform: Gatewayed
) -> None:
    assert "there is no budget" in (await run(shell, "budgets")).err
    done = await run(shell, "budgets", "set", "team", "--max-tokens", "100", "--json")
    assert done.code == 0, done.err
    assert (done.data["scope"], done.data["max_tokens"]) == ("team", 100)
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            replies = [await client.post("/chat/completions", json=CHAT) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 402]
    listed = await run(shell, "budgets")
    assert listed.out.splitlines()[1].split() == ["team", "-", "$0.0000", "-", "100", "100"]
    assert (await run(shell, "budgets", "remove", "team")).code == 0
    assert (await run(shell, "budgets", "list", "--json")).data == {"budgets": []}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("budgets", "set", "team"), "a budget needs a limit"),
        (("budgets", "set", "key", "--max-cost", "1"), "say which key by its id"),
        (("budgets", "set", "team", "abc", "--max-cost", "1"), "takes no id"),
        (("budgets", "remove", "team"), "there is no budget"),
        (("usage", "--by", "colour"), "not grouped by 'colour'"),
    ],
)
async def test_what_cannot_be_done_is_one_sentence(
    shell: Shell, words: tuple[str, ...], said: str
) -> None:
    done = await run(shell, *words)
    assert done.code == 2
    assert said in done.err and "Traceback" not in done.err


async def test_a_key_that_may_only_read_sets_no_budget(shell: Shell, platform: Gatewayed) -> None:
    shell.env["HUD_API_KEY"] = platform.make_key(scopes=("read",))
    done = await run(shell, "budgets", "set", "team", "--max-cost", "1")
    assert done.code == 2 and "admin" in done.err
    assert (await run(shell, "budgets")).code == 0
