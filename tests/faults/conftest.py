"""A folder and a mark of each test's own, and the table that its measurements go to."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.docker.conftest import (
    build as build,
)
from tests.faults.census import MARK, Census
from tests.faults.places import platform_at
from tests.needs import need_module
from tests.platform.server import Server
from tests.ray_cluster import ENVIRONMENT, RayCluster, ray_cluster


@pytest.fixture
def parts(request: pytest.FixtureRequest) -> None:
    """Start what a test's runtime shares with other tests, before the test is counted."""
    callspec = getattr(request.node, "callspec", None)
    shared = {"docker": "build", "ray": "cluster", "hud": "platform"}
    needed = shared.get(callspec.params.get("name", "")) if callspec is not None else None
    if needed is not None:
        request.getfixturevalue(needed)


@pytest.fixture
def census(parts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Census]:
    """Count what the test starts: it carries a mark, and has a folder for temporary files."""
    mark = uuid.uuid4().hex
    # Short: sockets lie in it, whose paths have to be.
    folder = Path(tempfile.mkdtemp(prefix="hf-", dir="/tmp"))
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield Census(mark, folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[RayCluster]:
    """A Ray cluster of this session's own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        need_module("ray")  # which reads them when it is imported
        with ray_cluster(tmp_path_factory.mktemp("ray")) as running:
            yield running


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A platform of this module's own."""
    with platform_at(tmp_path_factory.mktemp("platform") / "home") as server:
        yield server
