"""One server for all tests of a module, and fresh teams in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from pathlib import Path

import httpx
import pytest

from tests.platform.server import Server, running

_teams = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """Return a running server, shared by the tests of a module."""
    with running(tmp_path_factory.mktemp("platform") / "home") as started:
        yield started


@pytest.fixture
def open_client(server: Server) -> Generator[Callable[[str | None], httpx.Client]]:
    """Return what opens a client with a key; it is closed after the test."""
    opened: list[httpx.Client] = []

    def open_it(key: str | None) -> httpx.Client:
        opened.append(server.client(key))
        return opened[-1]

    yield open_it
    for client in opened:
        client.close()


@pytest.fixture
def client(server: Server, open_client: Callable[[str | None], httpx.Client]) -> httpx.Client:
    """Return a client of a team that has nothing yet."""
    return open_client(server.key(team=f"team-{next(_teams)}"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder for a server of the test's own."""
    return tmp_path / "home"
