"""What every test may ask for: the `--soak` switch, and interpreters that hold optional parts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.table import OPTION, Attempt, Fault, Record, write

if TYPE_CHECKING:
    from tests.docker_engine import DockerEngine
    from tests.postgres import PostgresServer
    from tests.s3 import S3Server


def pytest_configure(config: pytest.Config) -> None:
    # Started in the background by a script, this process ignores Ctrl-C, and so would what it
    # starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", action="store_true", default=False, help="also run the tests marked `soak`"
    )
    parser.addoption(
        "--pictures", action="store_true", default=False, help="take the pictures of the docs anew"
    )
    parser.addoption(
        OPTION, type=Path, default=None, help="a file for what the fault tests measure"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    soaking = [item for item in items if item.get_closest_marker("soak") is not None]
    if config.getoption("--soak"):
        for item in soaking:
            item.add_marker(pytest.mark.timeout(0))
    elif soaking:
        config.hook.pytest_deselected(items=soaking)
        items[:] = [item for item in items if item.get_closest_marker("soak") is None]


@pytest.fixture(scope="session")
def container_engine() -> Iterator[DockerEngine]:
    """A Docker engine of this session's own, with the image that others begin with."""
    from tests.docker_base import import_base  # heavy: for those who ask
    from tests.docker_engine import running_engine

    with running_engine() as engine:
        import_base(engine)
        yield engine


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this session's own."""
    from tests.postgres import running_postgres  # heavy: for those who ask

    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Return the URL, with its password, of an empty database of this test's own."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A server of this session's own that speaks S3."""
    from tests.s3 import running_s3  # heavy: for those who ask

    with running_s3() as server:
        yield server


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty bucket; this process's environment says how to reach it."""
    for name, value in s3_server.environ.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3_server.make_bucket()}/some/where"


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """Return the interpreter of the venv that holds the published client."""
    return _interpreter("HUD_TEST_PEER_PYTHON", "the published client is not installed")


@pytest.fixture(scope="session")
def old_peer_python() -> Path:
    """Return the interpreter of the venv that holds an older published client."""
    return _interpreter("HUD_TEST_OLD_PEER_PYTHON", "the older published client is not installed")


@pytest.fixture(scope="session")
def browser_use_python() -> Path:
    """Return the interpreter of the venv that holds browser-use."""
    return _interpreter("HUD_TEST_BROWSER_USE_PYTHON", "browser-use is not installed")


@pytest.fixture(scope="session")
def torch_python() -> Path:
    """Return the interpreter of a venv that holds this project and torch."""
    return _interpreter("HUD_TEST_TORCH_PYTHON", "torch is not installed")


@pytest.fixture
def limits_on_memory() -> None:
    """Need control groups that hold memory down; not everybody can make them."""
    from hud.sandbox.cgroup import Cgroup  # heavy: for those who ask

    group = Cgroup.create("test-memory", memory_bytes=64 << 20)
    applied = frozenset[str]() if group is None else group.applied
    if group is not None:
        group.remove()
    if "memory" not in applied:
        pytest.skip("no limit on memory can be enforced on this machine")


@pytest.fixture
def fault_row(request: pytest.FixtureRequest) -> Record:
    """Write down a fault that was measured, when a table is asked for."""
    return _writer(request, Fault)


@pytest.fixture
def attempt_row(request: pytest.FixtureRequest) -> Record:
    """Write down an attempt that came to nothing, when a table is asked for."""
    return _writer(request, Attempt)


def _writer(request: pytest.FixtureRequest, kind: type[Fault] | type[Attempt]) -> Record:
    file: Path | None = request.config.getoption(OPTION)

    def record(**fields: object) -> None:
        row = kind(test=request.node.nodeid, **fields)  # type: ignore[arg-type]
        if file is not None:
            write(file, row)

    return record


def _interpreter(variable: str, missing: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{missing} ({variable} is not set; scripts/test sets it where it can)")
    path = Path(value)
    if not path.exists():
        pytest.fail(f"{variable} names {value}, which does not exist")
    return path
