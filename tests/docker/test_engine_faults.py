"""Container engines that die, or are not there: every rollout says so, and nothing stays behind."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from hud import Taskset
from hud._core.outcome import Outcome
from hud.agents import NoopAgent
from hud.environment.compose import ComposeProject
from hud.environment.runtime_config import RuntimeConfig
from hud.environment.task import Task
from hud.errors import RuntimeFault
from hud.runtimes.docker import DockerRuntime
from tests.docker.conftest import RECIPE, grading, hud
from tests.docker_base import import_base
from tests.docker_engine import DockerEngine, running_engine
from tests.needs import need_program

SOURCE = """
import asyncio
import os

from hud import Environment

env = Environment(name="faulty")


@env.template()
async def ask():
    answer = yield "say yes"
    yield float(answer == "yes")


@env.template()
async def wait():
    yield "wait"
    print("grading begins", flush=True)
    await asyncio.sleep(3600)
    yield 1.0


@env.template()
async def die():
    yield "die"
    print("last words", flush=True)
    os._exit(3)
    yield 1.0
"""
IMAGE = "faulty"
PROJECT = f"""
services:
  main: {{image: {IMAGE}, depends_on: [beside]}}
  beside: {{image: hud-test-base, command: cat, stdin_open: true, volumes: ["data:/data"]}}
volumes: {{data: }}
"""


@pytest.fixture(scope="module")
def mortal_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """An engine that is killed here, with an environment's image in it."""
    with running_engine() as engine:
        import_base(engine)
        folder = tmp_path_factory.mktemp("image")
        (folder / "env.py").write_text(SOURCE)
        (folder / "Dockerfile.hud").write_text(RECIPE)
        done = hud(engine, "build", str(folder), "--tag", IMAGE)
        assert done.returncode == 0, done.stderr
        yield engine


@pytest.fixture
async def engine(
    mortal_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncGenerator[DockerEngine]:
    """The engine; when a test is over it runs, and nothing of any rollout is left."""
    for name, value in mortal_engine.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    temporary = Path(tempfile.mkdtemp(prefix="hud-faults-"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield mortal_engine
    if mortal_engine.process is None:
        await asyncio.to_thread(mortal_engine.start_daemon)
    async with asyncio.timeout(90):
        while mortal_engine.leftovers() or list(temporary.iterdir()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    temporary.rmdir()


@pytest.fixture(params=["container", "project"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> DockerRuntime:
    if request.param == "container":
        return DockerRuntime(IMAGE)
    need_program("docker-compose")
    (tmp_path / "compose.yaml").write_text(PROJECT)
    project = ComposeProject(document=tmp_path / "compose.yaml")
    return DockerRuntime(runtime_config=RuntimeConfig(compose=project))


async def test_an_engine_killed_while_the_agent_works_costs_no_grade_that_was_earned(
    engine: DockerEngine, runtime: DockerRuntime
) -> None:
    async def agent(run: object) -> str:
        await asyncio.to_thread(engine.kill_daemon)
        return "yes"

    job = await Taskset([Task(env="faulty", id="ask")]).run(agent, runtime=runtime, retries=0)
    # Containers outlive their engine, and the control port is no business of the engine's.
    assert (job.runs[0].outcome, job.runs[0].reward) == (Outcome.GRADED, 1.0)


async def test_an_engine_that_comes_back_in_grading_ends_the_rollout_without_a_grade(
    engine: DockerEngine, runtime: DockerRuntime
) -> None:
    work = asyncio.create_task(
        Taskset([Task(env="faulty", id="wait")]).run(NoopAgent(), runtime=runtime, retries=0)
    )
    await grading(engine)
    await asyncio.to_thread(engine.kill_daemon)
    await asyncio.to_thread(engine.start_daemon)  # it ends the containers that it finds
    run = (await work).runs[0]
    assert run.outcome is Outcome.RUNTIME
    assert "container" in str(run.trace.error)


async def test_an_engine_killed_while_a_container_starts_fails_the_start(
    engine: DockerEngine, runtime: DockerRuntime
) -> None:
    async def agent(run: object) -> str:
        return "yes"

    work = asyncio.create_task(
        Taskset([Task(env="faulty", id="ask")]).run(agent, runtime=runtime, retries=0)
    )
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(engine.leftovers):
            assert not work.done()
    await asyncio.to_thread(engine.kill_daemon)
    run = (await work).runs[0]
    # It may have been started just before.
    assert run.outcome is Outcome.RUNTIME or run.reward == 1.0


async def test_without_an_engine_nothing_starts_and_one_sentence_says_so(
    engine: DockerEngine, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM hud-test-base\n")
    (tmp_path / "rows.json").write_text('[{"env": "faulty", "id": "ask"}]')
    await asyncio.to_thread(engine.kill_daemon)
    for words in (
        ("eval", "rows.json", "noop", "--runtime", f"docker:{IMAGE}", "--retries", "0"),
        ("build", "."),
    ):
        done = await asyncio.to_thread(hud, engine, *words, cwd=tmp_path)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        said = done.stderr + done.stdout
        assert said.count("the container engine does not answer") == 1, said
        assert "systemctl start docker" in said
    with pytest.raises(RuntimeFault, match="does not answer"):
        await Taskset([Task(env="faulty", id="ask")]).run(NoopAgent(), runtime=DockerRuntime(IMAGE))


async def test_an_environment_that_dies_in_grading_is_no_zero(
    engine: DockerEngine, runtime: DockerRuntime
) -> None:
    row = Task(env="faulty", id="die")
    run = (await Taskset([row]).run(NoopAgent(), runtime=runtime, retries=0)).runs[0]
    assert run.outcome is Outcome.RUNTIME
    assert "status 3" in str(run.trace.error) and "last words" in str(run.trace.error)


@pytest.mark.parametrize(
    "recipe",
    [
        'CMD ["hud", "serve", "env.py"]',
        'CMD ["python3", "-m", "hud", "serve", "env.py"]',
        "CMD hud serve env.py",
        "CMD []",
    ],
)
async def test_an_image_without_hud_is_named_as_such(
    engine: DockerEngine, tmp_path: Path, recipe: str
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM hud-test-base\n{recipe}\n")
    engine.docker("build", "--tag", "without-hud", str(tmp_path))
    row = Task(env="faulty", id="ask")
    run = (
        await Taskset([row]).run(NoopAgent(), runtime=DockerRuntime("without-hud"), retries=0)
    ).runs[0]
    assert run.outcome is Outcome.RUNTIME
    assert "without-hud" in str(run.trace.error) and "there is no hud in it" in str(run.trace.error)
