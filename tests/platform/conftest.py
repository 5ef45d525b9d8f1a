"""One server for all tests of a module, and fresh teams in it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from tests.platform.server import Server, running

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

_teams = itertools.count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module that names `DATABASES` on a server with each of them."""
    module: Any = metafunc.module  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    databases = getattr(cast("object", module), "DATABASES", None)
    if databases is not None and "server" in metafunc.fixturenames:
        metafunc.parametrize("server", databases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Server]:
    """Return a running server, shared by the tests of a module."""
    home = tmp_path_factory.mktemp("platform") / "home"
    with contextlib.ExitStack() as stack:
        database = None
        if getattr(request, "param", "sqlite") == "postgres":
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            database = stack.enter_context(postgres.database())
        yield stack.enter_context(running(home, database=database))


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
