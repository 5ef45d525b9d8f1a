"""A platform that is given a container engine builds images; the engine here is the tests' own."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from hud.packaging.docker.disposal import find_unused_images, remove_images
from hud.packaging.docker.engine import find_engine
from hud.packaging.docker.names import OF_PLATFORMS, VERSION_LABEL
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


def _marked(engine: DockerEngine, number: int) -> str:
    """Build an image that no other is, as a platform names and marks its own."""
    tag = f"{OF_PLATFORMS}my-env:{number}"
    marks = ("--label", f"{VERSION_LABEL}=0", "--label", f"number={number}")
    engine.docker("build", "--tag", tag, *marks, "-", stdin="FROM hud-test-base\n")
    return tag


async def test_images_that_nobody_needs_go_and_somebodys_own_and_those_in_use_stay(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in engine.environ.items():
        monkeypatch.setenv(name, value)
    needed, unused, own, used = (_marked(engine, number) for number in range(4))
    engine.docker("tag", own, "my-own-name")
    container = engine.docker("create", used, "true").strip()
    found = find_engine()
    before_s = time.time() + 60

    async def look(at_s: float) -> list[str]:
        images = await find_unused_images(found, OF_PLATFORMS, before_s=at_s, needed=[needed])
        return [tag for image in images for tag in image.tags]

    try:
        assert await look(before_s - 3_600) == []
        images = await find_unused_images(found, OF_PLATFORMS, before_s=before_s, needed=[needed])
        tags = {tag for image in images for tag in image.tags}
        assert {unused, used} <= tags
        assert not {needed, own} & tags
        gone = await remove_images(found, [one for one in images if {unused, used} & {*one.tags}])
        assert [one.tags for one in gone] == [(unused,)]
        assert gone[0].size_bytes > 1_000_000
        left = engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
        assert unused not in left
        assert {needed, own, used, "my-own-name:latest"} <= {*left}
    finally:
        engine.docker("rm", "-f", container)


def test_an_image_whose_steps_fail_is_a_failed_build(
    docker_server: Server, docker_client: httpx.Client, engine: DockerEngine
) -> None:
    recipe = RECIPE.replace("RUN ", "RUN exit 3 && ")
    done = built(docker_server, docker_client, {**source(), "Dockerfile.hud": recipe})
    assert done["status"] == "FAILED"
    assert "cannot be built" in done["error_message"]
    assert engine.containers() == []


def test_what_a_team_kept_in_a_cache_of_builds_is_not_another_teams(
    engine: DockerEngine, tmp_path: Path
) -> None:
    mount = "RUN --mount=type=cache,target=/kept"
    kept = f'{mount} echo "found $(cat /kept/mark)"; echo {{}} > /kept/mark\n'
    with pytest.MonkeyPatch.context() as patched:
        for name, value in engine.environ.items():
            patched.setenv(name, value)
        patched.setenv("PATH", "/usr/bin", prepend=":")  # Debian's command has BuildKit in it
        with running(tmp_path / "home", "--builder", "docker") as server:

            def build(team: str, mark: str) -> str:
                recipe = RECIPE.replace("CMD", kept.replace("{}", mark) + "CMD")
                files = {**source(), "Dockerfile.hud": recipe}
                given = {"BUILDKIT_CACHE_MOUNT_NS": "one"}  # is no team's to choose
                with server.client(server.key(team=team)) as client:
                    done = built(server, client, files, build_args=given)
                assert done["status"] == "SUCCEEDED", done["log"]
                return done["log"]

            build("one", "first-of-one")
            assert "found first-of-one" in build("one", "second-of-one")
            assert "found second-of-one" not in build("two", "first-of-two")
