"""The engine that the tests of containers share, and images made on it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docker_base import import_base
from tests.docker_engine import DockerEngine, running_engine

Build = Callable[[str, dict[str, str]], str]

RECIPE = """FROM hud-test-base
WORKDIR /app
COPY . .
CMD ["hud", "serve", "env.py", "--port", "8765"]
"""


@pytest.fixture(scope="session")
def own_engine() -> Iterator[DockerEngine]:
    """A daemon of this session's own, with the base image in it."""
    with running_engine() as engine:
        import_base(engine)
        yield engine


@pytest.fixture
def engine(
    own_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[DockerEngine]:
    """The engine that `docker` means in this test; nothing of a rollout may be left in it."""
    for name, value in own_engine.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    yield own_engine
    assert own_engine.leftovers() == []


@pytest.fixture(scope="session")
def build(own_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build an image from files with `hud build`, once for each name, and return that name."""
    made: set[str] = set()

    def make(tag: str, files: dict[str, str]) -> str:
        if tag not in made:
            folder = tmp_path_factory.mktemp("image")
            for name, text in {"Dockerfile.hud": RECIPE, **files}.items():
                (folder / name).write_text(text)
            done = hud(own_engine, "build", str(folder), "--tag", tag)
            assert done.returncode == 0, done.stderr
            made.add(tag)
        return tag

    return make


def hud(
    engine: DockerEngine, *words: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the `hud` command against the engine."""
    return subprocess.run(
        [sys.executable, "-m", "hud", *words],
        env={**os.environ, **engine.environ},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


async def grading(engine: DockerEngine) -> str:
    """Return the container that has said that it grades, once there is one."""
    async with asyncio.timeout(60):
        while True:
            for name in await asyncio.to_thread(engine.containers):
                said = await asyncio.to_thread(engine.docker, "logs", name, check=False)
                if "grading begins" in said:
                    return name
