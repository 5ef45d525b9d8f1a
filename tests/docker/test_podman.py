"""The same images and rollouts with Podman, which has no daemon."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hud import Taskset
from hud._core.outcome import Outcome
from hud.agents import Agent, NoopAgent
from hud.agents.run import Run
from hud.capabilities.ssh import SSHClient
from hud.clients import connect
from hud.environment.task import Task
from hud.errors import InputError
from hud.runtimes.docker import DockerRuntime
from hud.testing.check_provider import check_provider
from tests.docker.conftest import RECIPE
from tests.podman_engine import PodmanEngine, running_podman

SOURCE = """
import asyncio
import os

from hud import Environment

env = Environment(name="podded")
workspace = env.workspace()


@env.template()
async def ask(word: str = "yes"):
    answer = yield f"say {word}"
    yield float(answer == word)


@env.template()
async def look():
    yield "look"
    names = ("GIVEN", "QUOTED", "LINES", "CONTAINER_HOST")
    yield {"score": 1.0, "info": {"given": [os.environ.get(name) for name in names]}}


@env.template()
async def hang_in_grading():
    yield "wait"
    print("grading begins", flush=True)
    await asyncio.sleep(3600)
    yield 1.0
"""
ROW = Task(env="podded", id="ask")


class Says(Agent):
    """Answers always the same."""

    def __init__(self, word: str) -> None:
        self.word = word

    @property
    def name(self) -> str:
        return "says"

    async def __call__(self, run: Run) -> None:
        run.trace.content = self.word
        run.trace.stop_reason = "done"


IMAGE = "podded"


@pytest.fixture(scope="module")
def own_podman() -> Iterator[PodmanEngine]:
    with running_podman() as podman:
        yield podman


@pytest.fixture
def podman(
    own_podman: PodmanEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[PodmanEngine]:
    """What builds and rollouts use in this test; no container may be left in it afterwards."""
    for name, value in own_podman.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    yield own_podman
    assert own_podman.containers() == []


@pytest.fixture
def image(podman: PodmanEngine, tmp_path: Path) -> str:
    """The image of `SOURCE`, built with `hud build` the first time."""
    if podman.podman("images", "--quiet", IMAGE) == "":
        folder = tmp_path / "source"
        folder.mkdir()
        (folder / "env.py").write_text(SOURCE)
        (folder / "Dockerfile.hud").write_text(RECIPE)
        done = subprocess.run(
            [sys.executable, "-m", "hud", "build", str(folder)],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == IMAGE
        lock = json.loads((folder / "hud.lock").read_text())
        assert {task["id"] for task in lock["tasks"]} == {"ask", "look", "hang_in_grading"}
        assert lock["digest"].startswith("sha256:")
    return IMAGE


async def test_a_rollout_has_the_same_reward_and_leaves_nothing(
    podman: PodmanEngine, image: str
) -> None:
    job = await Taskset([ROW]).run(Says("yes"), runtime=DockerRuntime(image))
    assert [run.reward for run in job.runs] == [1.0]
    job = await Taskset([ROW]).run(Says("no"), runtime=DockerRuntime(image))
    assert [run.reward for run in job.runs] == [0.0]


async def test_variables_come_as_they_are_and_are_no_settings_of_podman(
    podman: PodmanEngine, image: str
) -> None:
    given = {"GIVEN": " a=b #c", "QUOTED": "'it' \"is\" $HOME \\", "LINES": "one\ntwo"}
    given["CONTAINER_HOST"] = "tcp://nowhere"
    row = Task(env="podded", id="look")
    job = await Taskset([row]).run(NoopAgent(), runtime=DockerRuntime(image, env_vars=given))
    assert job.runs[0].grade.info == {"given": [*given.values()]}


async def test_it_keeps_the_contract_of_providers(podman: PodmanEngine, image: str) -> None:
    await check_provider(DockerRuntime(image), ROW, parallel=2)


@pytest.mark.parametrize(
    ("run_args", "isolation"),
    [((), "uid"), (("--user", "1000:1000"), "bwrap")],
    ids=["root", "user"],
)
async def test_the_wall_is_that_of_docker(
    podman: PodmanEngine, image: str, run_args: tuple[str, ...], isolation: str
) -> None:
    async with DockerRuntime(image, run_args=run_args)(ROW) as place, connect(place) as client:
        await client.start_task("ask", {})
        assert client.binding("shell").params["isolation"] == isolation
        shell = await client.open("shell", SSHClient)
        found = await shell.execute("cat /app/env.py; echo x > /proc/sys/kernel/core_pattern")
        assert "Environment" not in found.stdout and found.exit_status != 0


async def test_a_container_killed_in_grading_is_no_zero(podman: PodmanEngine, image: str) -> None:
    row = Task(env="podded", id="hang_in_grading")
    work = asyncio.create_task(
        Taskset([row]).run(NoopAgent(), runtime=DockerRuntime(image), retries=0)
    )
    async with asyncio.timeout(120):
        name = ""
        while not name:
            for found in await asyncio.to_thread(podman.containers):
                said = await asyncio.to_thread(podman.podman, "logs", found, check=False)
                name = found if "grading begins" in said else name
    await asyncio.to_thread(podman.podman, "kill", name)
    job = await work
    assert job.runs[0].outcome is Outcome.RUNTIME


async def test_what_a_killed_owner_left_is_removed_by_its_guard(
    podman: PodmanEngine, image: str, tmp_path: Path
) -> None:
    program = tmp_path / "owner.py"
    program.write_text(
        "import asyncio\n"
        "from hud.environment.task import Task\n"
        "from hud.runtimes.docker import DockerRuntime\n"
        "async def main():\n"
        f"    async with DockerRuntime({image!r})(Task(env='podded', id='ask')) as place:\n"
        "        print(place.url, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    owner = subprocess.Popen(  # noqa: ASYNC220 -- its pid is killed below
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner.stdout as lines:
        folder = Path(lines.readline().strip().removeprefix("unix://")).parent.parent
        assert folder.is_dir() and podman.containers()
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    async with asyncio.timeout(60):
        while podman.containers() or folder.exists():  # noqa: ASYNC110 -- another process acts
            await asyncio.sleep(0.05)


async def test_more_than_the_machine_has_is_refused_before_anything_starts(
    podman: PodmanEngine, image: str
) -> None:
    asks = {"runtime_config": {"resources": {"cpu": 4096}}}
    row = Task.model_validate({"env": "podded", "id": "ask", **asks})
    with pytest.raises(InputError, match=r"resources\.cpu"):
        async with DockerRuntime(image)(row):
            pass
