"""Rollouts in containers of a real Docker engine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hud import Taskset
from hud._core.outcome import Outcome
from hud._core.owner import own_label
from hud.agents import NoopAgent
from hud.environment.runtime_config import RuntimeConfig
from hud.environment.task import Task
from hud.errors import EnvironmentFault, InputError, RuntimeFault
from hud.runtimes.docker import DockerRuntime
from hud.testing.check_provider import check_provider
from tests.docker.conftest import Build, grading
from tests.docker_engine import DockerEngine

SOURCE = """
import asyncio
import os

from hud import Environment

env = Environment(name="checked")


@env.template()
async def ask(word: str = "yes"):
    answer = yield f"say {word}"
    yield float(answer == word)


@env.template()
async def look():
    yield "look"
    links = sorted(os.listdir("/sys/class/net"))
    limit = open("/sys/fs/cgroup/memory/memory.limit_in_bytes").read().strip()
    given = [os.environ.get(name) for name in ("GIVEN", "LINES", "DOCKER_HOST")]
    yield {"score": 1.0, "info": {"links": links, "memory": limit, "given": given}}


@env.template()
async def hang_in_grading():
    yield "wait"
    print("grading begins", flush=True)
    await asyncio.sleep(3600)
    yield 1.0


@env.template()
async def die_in_grading():
    yield "die"
    os.kill(1, 15)
    os._exit(3)
    yield 1.0
"""
BROKEN = f"{SOURCE}\n@env.initialize\nasync def fail():\n    raise OSError('no disk')\n"
ROW = Task(env="checked", id="ask")
_GPU = {"resources": {"gpu": {"count": 1}}}


@pytest.fixture(scope="session")
def image(build: Build) -> str:
    return build("checked", {"env.py": SOURCE})


async def test_it_keeps_the_contract_of_providers(
    engine: DockerEngine, image: str, build: Build
) -> None:
    broken = build("broken", {"env.py": BROKEN})
    await check_provider(DockerRuntime(image), ROW, broken=DockerRuntime(broken), parallel=2)


async def test_with_a_warm_pool_it_keeps_the_contract_too(
    engine: DockerEngine, image: str, build: Build
) -> None:
    broken = build("broken", {"env.py": BROKEN})
    row = ROW.model_copy(update={"runtime_config": RuntimeConfig.model_validate(_GPU)})
    await check_provider(
        DockerRuntime(image, warm=2),
        ROW,
        broken=DockerRuntime(broken, warm=1),
        broken_says="no disk",
        unsupported=row,
        parallel=3,
        timeout_s=300,
    )


async def test_a_container_sees_no_network_and_has_the_limits_of_its_row(
    engine: DockerEngine, image: str
) -> None:
    row = Task.model_validate(
        {
            "env": "checked",
            "id": "look",
            "runtime_config": {"image": image, "resources": {"cpu": 0.5, "memory_mb": 512}},
        }
    )
    # The last is a setting of the command that starts the container, and none of its business.
    given = {"GIVEN": " 'to it' #$", "LINES": "one\ntwo", "DOCKER_HOST": "unix:///nowhere"}
    runtime = DockerRuntime("not-this-one", env_vars=given)
    job = await Taskset([row]).run(NoopAgent(), runtime=runtime)
    info = job.runs[0].grade.info
    assert info == {"links": ["lo"], "memory": str(512 << 20), "given": [*given.values()]}


@pytest.mark.parametrize(
    ("asks", "named"),
    [
        ({"resources": {"gpu": {"count": 1}}}, "resources.gpu"),
        ({"resources": {"cpu": 4096}}, "resources.cpu"),
        ({"resources": {"storage_mb": 100}}, "resources.storage_mb"),
        ({"resources": {"os": "windows"}}, "resources.os"),
        ({"resources": {"tpu": {"type": "v5e", "topology": "2x2"}}}, "resources.tpu"),
    ],
)
async def test_what_the_engine_cannot_give_is_refused_before_anything_starts(
    engine: DockerEngine, image: str, asks: dict[str, object], named: str
) -> None:
    row = Task.model_validate({"env": "checked", "id": "ask", "runtime_config": asks})
    with pytest.raises(InputError, match=named):
        async with DockerRuntime(image)(row):
            pass


async def test_a_start_that_fails_shows_the_end_of_the_log(
    engine: DockerEngine, build: Build
) -> None:
    broken = build("broken", {"env.py": BROKEN})
    with pytest.raises(EnvironmentFault, match="no disk"):
        async with DockerRuntime(broken)(ROW):
            pass


async def test_an_image_without_hud_says_so(engine: DockerEngine) -> None:
    engine.docker("tag", "hud-test-base", "without-hud")
    runtime = DockerRuntime("without-hud", run_args=["--entrypoint", "hud"])
    with pytest.raises(RuntimeFault) as caught:
        async with runtime(ROW):
            pass
    assert caught.value.hint is not None and "hud build" in caught.value.hint
    with pytest.raises(InputError, match="there is no image 'nowhere-to-be-found'"):
        async with DockerRuntime("nowhere-to-be-found")(ROW):
            pass


async def test_what_does_not_serve_in_time_is_ended(engine: DockerEngine) -> None:
    row = Task.model_validate(
        {"env": "checked", "id": "ask", "runtime_config": {"limits": {"startup_timeout_s": 2}}}
    )
    engine.docker("tag", "hud-test-base", "idle")
    runtime = DockerRuntime("idle", run_args=["--entrypoint", "cat", "--interactive"])
    with pytest.raises(RuntimeFault, match="did not serve within 2 s"):
        async with runtime(row):
            pass


async def test_a_rollout_over_its_time_ends_ungraded_with_the_reason(
    engine: DockerEngine, image: str
) -> None:
    row = Task.model_validate(
        {
            "env": "checked",
            "id": "hang_in_grading",
            "runtime_config": {"limits": {"run_timeout_s": 1}},
        }
    )
    job = await Taskset([row]).run(NoopAgent(), runtime=DockerRuntime(image), retries=0)
    assert job.runs[0].outcome is Outcome.TIMEOUT


async def test_a_container_killed_in_grading_is_no_zero(engine: DockerEngine, image: str) -> None:
    row = Task(env="checked", id="hang_in_grading")
    work = asyncio.create_task(
        Taskset([row]).run(NoopAgent(), runtime=DockerRuntime(image), retries=0)
    )
    name = await grading(engine)
    await asyncio.to_thread(engine.docker, "kill", name)
    job = await work
    assert job.runs[0].outcome is Outcome.RUNTIME
    assert "killed" in str(job.runs[0].trace.error)


async def test_what_a_killed_owner_left_is_removed_by_its_guard(
    engine: DockerEngine, image: str, tmp_path: Path
) -> None:
    program = tmp_path / "owner.py"
    program.write_text(
        "import asyncio\n"
        "from hud.environment.task import Task\n"
        "from hud.runtimes.docker import DockerRuntime\n"
        "async def main():\n"
        f"    async with DockerRuntime({image!r})(Task(env='checked', id='ask')) as place:\n"
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
        assert folder.is_dir() and engine.containers()
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    async with asyncio.timeout(60):
        while engine.containers() or folder.exists():  # noqa: ASYNC110 -- another process acts
            await asyncio.sleep(0.05)


async def test_what_is_left_without_a_guard_is_removed_by_the_next_command(
    engine: DockerEngine, image: str
) -> None:
    label = f"{own_label().rpartition('/')[0]}/{os.getpid()}:1"
    engine.docker(
        *("run", "-d", "--network", "none", "--label", f"hud.owner={label}"), image, "sleep", "600"
    )
    async with DockerRuntime(image)(ROW), asyncio.timeout(60):
        while len(engine.containers()) > 1:  # noqa: ASYNC110 -- another process acts
            await asyncio.sleep(0.05)
