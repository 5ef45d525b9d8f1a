"""What holds the places of rollouts is killed: the container engine, a node of a Ray cluster."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from hud import Run, Task, Taskset
from hud.environment.runtime_config import RuntimeConfig
from hud.runtimes.docker import DockerRuntime
from hud.runtimes.ray import RayRuntime
from tests.docker.conftest import RECIPE, hud
from tests.docker_base import import_base
from tests.docker_engine import DockerEngine, running_engine
from tests.faults import census as counting
from tests.faults.census import Census
from tests.faults.places import SOURCE, actors, tasks_file
from tests.faults.table import Record
from tests.ray_cluster import RayCluster

GROUP = "What holds the places is killed (`kill -9`)"
ROLLOUTS = 3
DEADLINE_S = 150.0


def _rows(word: str, config: RuntimeConfig | None = None) -> list[Task]:
    """Return tasks of which the first is never graded and the others at once."""
    rows = [
        Task(env="faulted", id="held", slug=f"n{n}", args={"name": word, "n": n})
        for n in range(ROLLOUTS)
    ]
    return [row.model_copy(update={"runtime_config": config}) for row in rows]


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Generator[DockerEngine]:
    """An engine that may be killed, with the image of the source in it."""
    with running_engine() as engine:
        import_base(engine)
        folder = tmp_path_factory.mktemp("image")
        (folder / "env.py").write_text(SOURCE.read_text())
        (folder / "Dockerfile.hud").write_text(RECIPE)
        done = hud(engine, "build", str(folder), "--tag", "faulted")
        assert done.returncode == 0, done.stderr
        yield engine


async def test_an_engine_killed_while_a_container_grades_ends_ungraded_and_leaves_nothing(
    mortal: DockerEngine,
    census: Census,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault_row: Record,
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    for name, value in mortal.environ.items():
        monkeypatch.setenv(name, value)
    census.counts["containers"] = mortal.containers
    before = await asyncio.to_thread(census.take)
    word = f"hud-{uuid.uuid4().hex[:8]}"

    async def answer(run: Run) -> str:
        return "yes"

    work = asyncio.create_task(
        Taskset("held", _rows(word)).run(answer, runtime=DockerRuntime("faulted"), retries=0)
    )
    async with asyncio.timeout(DEADLINE_S):
        while not await asyncio.to_thread(counting.named, word):
            assert not work.done()
            await asyncio.sleep(0.02)
    during = await asyncio.to_thread(census.left, before)
    await asyncio.to_thread(mortal.kill_daemon)
    began = time.monotonic()
    monkeypatch.delenv(counting.MARK)  # the engine is not what is counted
    await asyncio.to_thread(mortal.start_daemon)
    async with asyncio.timeout(DEADLINE_S):
        job = await work
    _, left = await asyncio.to_thread(census.wait_until, before)
    seconds = time.monotonic() - began
    assert left == {}, counting.spelled(left)
    outcomes = Counter(run.outcome.value for run in job.runs if run.outcome is not None)
    assert outcomes["runtime"] >= 1 and set(outcomes) <= {"graded", "runtime"}, [
        run.trace.error for run in job.runs
    ]
    assert not [run for run in job.runs if run.reward == 0.0]
    fault_row(
        group=GROUP,
        fault="the container engine, with one rollout in the middle of grading; it is started anew",
        where="docker",
        rollouts=ROLLOUTS,
        graded=outcomes.pop("graded", 0),
        ungraded=dict(outcomes),
        during=counting.spelled(during),
        reaped_s=seconds,
        by="by the eval and its guard, once the engine answers",
    )


async def test_a_node_killed_while_it_grades_ends_its_rollouts_ungraded(
    cluster: RayCluster,
    census: Census,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault_row: Record,
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    node = await asyncio.to_thread(lambda: cluster.add_node(gpus=ROLLOUTS))
    census.counts["actors"] = actors
    before = await asyncio.to_thread(census.take)
    word = f"hud-{uuid.uuid4().hex[:8]}"

    async def answer(run: Run) -> str:
        return "yes"

    config = RuntimeConfig.model_validate({"resources": {"gpu": {}}})
    runtime = RayRuntime(tasks_file(tmp_path), address=cluster.address)
    work = asyncio.create_task(
        Taskset("held", _rows(word, config)).run(answer, runtime=runtime, retries=0)
    )
    async with asyncio.timeout(DEADLINE_S):
        while not await asyncio.to_thread(counting.named, word):
            assert not work.done()
            await asyncio.sleep(0.02)
    during = await asyncio.to_thread(census.left, before)
    await asyncio.to_thread(cluster.kill_node, node)
    async with asyncio.timeout(DEADLINE_S):
        job = await work
    seconds, left = await asyncio.to_thread(census.wait_until, before)
    assert left == {}, counting.spelled(left)
    outcomes = Counter(run.outcome.value for run in job.runs if run.outcome is not None)
    assert outcomes["runtime"] >= 1 and set(outcomes) <= {"graded", "runtime"}, [
        run.trace.error for run in job.runs
    ]
    assert not [run for run in job.runs if run.reward == 0.0]
    fault_row(
        group=GROUP,
        fault="a node of a Ray cluster, with one rollout in the middle of grading",
        where="ray",
        rollouts=ROLLOUTS,
        graded=outcomes.pop("graded", 0),
        ungraded=dict(outcomes),
        during=counting.spelled(during),
        reaped_s=seconds,
        by="by a guard on what was the node",
    )
