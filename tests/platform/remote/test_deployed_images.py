"""From a folder to remote runs in containers: images that the platform built, on an engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from typing import Any

import httpx
import pytest

from tests.docker_engine import DockerEngine
from tests.platform.remote.asking import NOOP, over, submit
from tests.platform.remote.laptop import Laptop
from tests.platform.server import DEADLINE_S, Server, running

SOURCE = """
import asyncio
import os

from hud import Environment

env = Environment("imaged")
VERSION = 1


@env.template()
async def measure(number: int = 1):
    yield f"Say {number}."
    yield {"score": number / 10, "info": {"version": VERSION}}


@env.template()
async def look(home: str):
    yield "Look."
    limit = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    limit = limit if os.path.exists(limit) else "/sys/fs/cgroup/memory.max"
    yield {
        "score": 1.0,
        "info": {
            "links": sorted(os.listdir("/sys/class/net")),
            "home": os.path.exists(home),
            "told": os.environ.get("TOLD"),
            "of the server": [name for name, value in os.environ.items() if home in value],
            "memory": int(open(limit).read()),
        },
    }


@env.template()
async def hang():
    yield "Wait."
    print("grading begins", flush=True)
    await asyncio.sleep(3600)
    yield 1.0


tasks = [measure(number=number) for number in (0, 3, 10)]
"""
RECIPE = """FROM hud-test-base
WORKDIR /app
COPY . .
CMD ["hud", "serve", "env.py", "--port", "8765"]
"""
FILES = {
    "env.py": SOURCE,
    "Dockerfile.hud": RECIPE,
    "asks.json": json.dumps({"resources": {"memory_mb": 512}}),
}


@pytest.fixture(scope="module")
def laptop(
    container_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Laptop]:
    folder = tmp_path_factory.mktemp("images")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in container_engine.environ.items():
            patch.setenv(name, value)
        with running(folder / "home", "--builder", "docker") as server:
            found = Laptop(server, folder / "imaged", FILES)
            found.hud("deploy", ".", "--yes", "--env", "TOLD=yes", "--runtime-config", "asks.json")
            found.hud("sync", "tasks", "imaged", "env.py", "--yes")
            yield found
    assert container_engine.containers() == []


@pytest.fixture
def client(laptop: Laptop, container_engine: DockerEngine) -> Generator[httpx.Client]:
    """A client of the team; no container is left once nothing of it runs."""
    with laptop.server.client(laptop.key) as client:
        yield client
    until(lambda: container_engine.containers() == [])


def until(holds: Callable[[], object]) -> None:
    """Wait for what other processes do."""
    ends = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


def ended(client: httpx.Client, task: str, **more: Any) -> dict[str, Any]:
    return over(client, submit(client, task, env="imaged", retries=0, **more))


@pytest.mark.parametrize("how", [("--remote",), ("--runtime", "hud")])
def test_the_rewards_of_a_remote_run_are_those_of_a_local_one(
    laptop: Laptop, client: httpx.Client, how: tuple[str, ...]
) -> None:
    local = laptop.rewards("env.py", "noop", "--all", "--runtime", "subprocess")
    assert laptop.rewards("imaged", "noop", "--all", *how) == local
    assert sorted(reward for [reward] in local.values()) == [0.0, 0.3, 1.0]
    assert client.get("/runtime/sessions").json()["items"] == []


def test_it_runs_with_what_it_was_deployed_with_and_sees_nothing_of_the_platform(
    laptop: Laptop, client: httpx.Client
) -> None:
    found = ended(client, "look", args={"home": str(laptop.server.home)})
    assert found["evaluation_result"]["info"] == {
        "links": ["lo"],
        "home": False,
        "told": "yes",
        "of the server": [],
        "memory": 512 << 20,
    }


def test_a_row_has_the_machine_it_asks_for_and_no_other_image_than_was_deployed(
    client: httpx.Client, laptop: Laptop
) -> None:
    asked = {"resources": {"memory_mb": 768}}
    args = {"home": str(laptop.server.home)}
    found = ended(client, "look", args=args, runtime_config=asked)
    assert found["evaluation_result"]["info"]["memory"] == 768 << 20
    stamped = ended(client, "measure", runtime_config={"image": "hud-test-base"})
    assert (stamped["outcome"], stamped["reward"]) == ("graded", 0.1)
    everything = {"image": "hud-test-base", "volumes": ["/:/machine"]}
    project = {"document": {"services": {"main": everything}}}
    refused = ended(client, "measure", runtime_config={"compose": project})
    assert (refused["status"], refused["reward"]) == ("error", None)
    assert "asks for compose" in refused["error"]


def test_a_container_killed_in_grading_is_no_zero(
    client: httpx.Client, container_engine: DockerEngine
) -> None:
    run = submit(client, "hang", env="imaged", retries=0)
    container_engine.docker("kill", grading(container_engine))
    found = over(client, run)
    assert (found["outcome"], found["reward"]) == ("runtime", None)
    assert "killed" in found["error"]


def grading(engine: DockerEngine) -> str:
    """Return the container that grades, once it does."""
    found: list[str] = []

    def looks() -> list[str]:
        found.extend(
            name
            for name in engine.containers()
            if "grading begins" in engine.docker("logs", name, check=False)
        )
        return found

    until(looks)
    return found[0]


def test_the_version_that_is_current_runs(laptop: Laptop, client: httpx.Client) -> None:
    def version() -> int:
        return ended(client, "measure")["evaluation_result"]["info"]["version"]

    assert version() == 1
    (laptop.folder / "env.py").write_text(SOURCE.replace("VERSION = 1", "VERSION = 2"))
    laptop.hud("deploy", ".", "--yes")
    assert version() == 2
    laptop.hud("deploy", "--rollback", "1")
    assert version() == 1


def test_a_killed_server_leaves_no_container(
    container_engine: DockerEngine, laptop: Laptop
) -> None:
    server: Server = laptop.server
    with server.client(laptop.key) as client:
        lent = client.post("/runtime/sessions", json={"environment": "imaged"})
        assert lent.status_code == 201, lent.text
        run = submit(client, "hang", env="imaged", retries=0, agent=NOOP)
        until(lambda: len(container_engine.containers()) == 2)
    server.kill()
    until(lambda: container_engine.containers() == [])
    server.start("--builder", "docker")
    with server.client(laptop.key) as client:
        found = over(client, run)
    assert (found["outcome"], found["reward"]) == ("runtime", None)
    assert container_engine.containers() == []
