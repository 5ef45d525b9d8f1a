"""The engine as the tests of containers see it: nothing stays in it, and images are made on it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docker_engine import DockerEngine

Build = Callable[[str, dict[str, str]], str]

RECIPE = """FROM hud-test-base
WORKDIR /app
COPY . .
CMD ["hud", "serve", "env.py", "--port", "8765"]
"""


@pytest.fixture
def engine(
    container_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[DockerEngine]:
    """The engine that `docker` means in this test; nothing of a rollout may be left in it."""
    for name, value in container_engine.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    yield container_engine
    assert container_engine.leftovers() == []


@pytest.fixture(scope="session")
def build(container_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build an image from files with `hud build`, once for each name, and return that name."""
    made: set[str] = set()

    def make(tag: str, files: dict[str, str]) -> str:
        if tag not in made:
            folder = tmp_path_factory.mktemp("image")
            for name, text in {"Dockerfile.hud": RECIPE, **files}.items():
                (folder / name).write_text(text)
            done = hud(container_engine, "build", str(folder), "--tag", tag)
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
