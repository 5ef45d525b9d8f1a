"""A platform that is given a container engine builds images; the engine here is the tests' own."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from tests.docker_engine import DockerEngine
from tests.platform.builds.building import built, source
from tests.platform.server import Server, running

RECIPE = """FROM hud-test-base
ARG COLOUR=none
WORKDIR /app
COPY . .
RUN echo "painted $COLOUR" && echo $COLOUR > colour.txt
CMD ["hud", "serve", "env.py", "--port", "8765"]
"""


@pytest.fixture(scope="module")
def engine(container_engine: DockerEngine) -> DockerEngine:
    return container_engine


@pytest.fixture(scope="module")
def docker_server(
    engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Server]:
    home: Path = tmp_path_factory.mktemp("platform") / "home"
    with pytest.MonkeyPatch.context() as patched:
        for name, value in engine.environ.items():
            patched.setenv(name, value)
        with running(home, "--builder", "docker") as server:
            yield server


@pytest.fixture
def docker_client(docker_server: Server) -> Generator[httpx.Client]:
    with docker_server.client(docker_server.key(team="images")) as client:
        yield client


def test_a_context_becomes_an_image_of_its_own(
    docker_server: Server, docker_client: httpx.Client, engine: DockerEngine
) -> None:
    files = {**source(), "Dockerfile.hud": RECIPE}
    first = built(docker_server, docker_client, files, build_args={"COLOUR": "blue"})
    assert first["status"] == "SUCCEEDED", first["log"]
    assert first["uri"] == f"docker:{first['image_name']}"
    assert [task["id"] for task in first["manifest"]["tasks"]] == ["add"]
    assert "painted blue" in first["log"]
    second = built(docker_server, docker_client, files)
    assert second["image_name"] != first["image_name"]
    told = engine.docker(
        "run", "--rm", "--network", "none", first["image_name"], "cat", "colour.txt"
    )
    assert told.strip() == "blue"
    assert engine.containers() == []


def test_an_image_whose_steps_fail_is_a_failed_build(
    docker_server: Server, docker_client: httpx.Client, engine: DockerEngine
) -> None:
    recipe = RECIPE.replace("RUN ", "RUN exit 3 && ")
    done = built(docker_server, docker_client, {**source(), "Dockerfile.hud": recipe})
    assert done["status"] == "FAILED"
    assert "cannot be built" in done["error_message"]
    assert engine.containers() == []
