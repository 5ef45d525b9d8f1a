"""Every agent keeps the contract of agents, and every store that of stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from hud.agents.base import Agent, as_agent
from hud.agents.noop import NoopAgent
from hud.agents.run import Run
from hud.agents.scripted import ScriptedAgent
from hud.store import Store, open_store
from hud.testing import check_agent, check_store


async def test_noop() -> None:
    await check_agent(NoopAgent)


async def test_scripted() -> None:
    await check_agent(lambda: ScriptedAgent(lambda run: run.prompt_text[::-1]))


async def test_an_async_function() -> None:
    async def shout(run: Run) -> str:
        return run.prompt_text.upper()

    await check_agent(lambda: as_agent(shout))


class Forgetting(Agent):
    """Keeps its last prompt, so runs side by side mix."""

    def __init__(self) -> None:
        self.prompt = ""

    async def __call__(self, run: Run) -> None:
        if not self.prompt:
            self.prompt = run.prompt_text
        run.trace.content = self.prompt


async def test_an_agent_that_keeps_state_is_found_out() -> None:
    with pytest.raises(AssertionError, match="alone"):
        await check_agent(Forgetting)


async def test_the_sqlite_store(tmp_path: Path) -> None:
    def open_again() -> Store:
        return open_store(tmp_path)

    await check_store(open_again)
