"""A server that runs what it is asked to, and an environment on it."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.platform.registry.known import know
from tests.platform.server import Server

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

QA = Path(__file__).parent / "sources" / "qa.py"
BROKEN = QA.with_name("broken.py")
_teams = itertools.count(1)


class RemoteServer(Server):
    """A server that also runs plain sources."""

    command = (sys.executable, "-m", "tests.platform.remote.served", "platform", "up")


@dataclass(frozen=True)
class Team:
    """A team with a key and the environment `qa`."""

    server: Server
    name: str
    key: str

    def client(self) -> httpx.Client:
        return self.server.client(self.key)

    def settings(self) -> dict[str, str]:
        """Return the variables that point a client at the server."""
        return self.server.settings(self.key)


def team_with_qa(
    server: Server, name: str | None = None, *, environment: str = "qa", source: Path = QA
) -> Team:
    """Return a new team that has deployed `qa`, or another source."""
    name = name or f"team-{next(_teams)}"
    key = server.key(team=name)
    tasks = [{"id": one} for one in ("ask", "slow", "killed", "broken")]
    know(server, name, environment, tasks, uri=f"source:{source}")
    return Team(server, name, key)


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Server]:
    """Return a running server, shared by the tests of a module."""
    home = tmp_path_factory.mktemp("remote") / "home"
    with contextlib.ExitStack() as stack:
        database = None
        if getattr(request, "param", "sqlite") == "postgres":
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            database = stack.enter_context(postgres.database())
        found = RemoteServer(home, database)
        stack.callback(found.close)
        found.start()
        yield found


@pytest.fixture
def team(server: Server) -> Team:
    """Return a new team with the environment `qa`."""
    return team_with_qa(server)
