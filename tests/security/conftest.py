"""One served environment per way of isolation and network, and an agent for every test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import pytest

from tests.security.world import Agent, Served, agent_of, serving

ISOLATIONS = ("bwrap", "uid")


@pytest.fixture(scope="package", params=[f"{i}-{n}" for i in ISOLATIONS for n in ("off", "on")])
def served(request: pytest.FixtureRequest) -> Generator[Served]:
    """Serve an environment once for every isolation, without and with network."""
    isolation, network = str(request.param).split("-")
    with serving(isolation, network=network == "on") as found:
        yield found


@pytest.fixture
async def agent(served: Served) -> AsyncGenerator[Agent]:
    async with agent_of(served) as found:
        yield found


@pytest.fixture(params=ISOLATIONS)
def isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)
