"""Rollouts behind a bundle's wall: what they see, what they leave, and how they end."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from hud import Run
from hud._core import processes
from hud._core.errors import InputError, RuntimeFault
from hud._core.outcome import Outcome
from hud._core.paths import hud_home
from hud.capabilities import CDPClient, SSHClient
from hud.clients import connect
from hud.environment.runtime_config import RuntimeConfig, RuntimeLimits, RuntimeResources
from hud.environment.task import Task
from hud.eval.taskset import Taskset
from hud.packaging.bundle import Bundle, build_bundle
from hud.packaging.root import problem
from hud.runtimes.bundle import BundleRuntime
from tests.docker_browser import chromium_program
from tests.e2e.placed import SOURCES, score_of, started, task
from tests.needs import missing


@pytest.fixture(autouse=True, scope="module")
def walls() -> None:
    """Need what a bundle's root is made with; under CI its lack is a failure."""
    if (why := problem()) is not None:
        missing(why)


DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walled")
    shutil.copy(SOURCES / "walled.py", folder / "tasks.py")
    return folder


@pytest.fixture
async def bundle(folder: Path) -> Bundle:
    return await build_bundle(folder, store=folder.parent / "walled-bundles")


async def test_what_a_rollout_writes_goes_with_it(bundle: Bundle) -> None:
    row = task("walled", "leave", name="note.txt")
    async with BundleRuntime(bundle) as runtime:
        assert [await score_of(runtime, row, "") for _ in range(3)] == [1.0, 1.0, 1.0]
        async with started(runtime, row), started(runtime, row) as (_, client, _prompt):
            assert (await client.grade({"answer": ""}))["score"] == 1.0
    assert sorted(path.name for path in (bundle.folder / "source").iterdir()) == ["tasks.py"]


@pytest.mark.parametrize("length", [45, 60, 90])
async def test_the_folder_for_temporary_files_may_have_a_long_name(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t" * (length - 13)) as long:
        monkeypatch.setattr(tempfile, "tempdir", long)
        row = task("walled", "leave", name="note.txt")
        assert await score_of(BundleRuntime(bundle), row, "") == 1.0


async def test_a_rollout_sees_nothing_of_the_machine(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_SECRET", "x")
    hidden = [str(hud_home()), str(Path(__file__).parent), "/root/.ssh", "/etc/shadow"]
    row = task("walled", "look", paths=[*hidden, str(bundle.folder)])
    runtime = BundleRuntime(bundle, env_vars={"GIVEN": "1"})
    async with started(runtime, row) as (_, client, _prompt):
        info = (await client.grade({"answer": ""}))["info"]
    assert info["readable"] == []
    assert info["network"] == ["lo"]
    assert info["pids"] < 10
    assert info["uid"] != 0 and info["capabilities"] == 0
    assert "OWN_SECRET" not in info["env"] and "GIVEN" in info["env"]
    assert info["imported"] == "import"


async def test_an_agent_has_its_shell_inside(bundle: Bundle) -> None:
    async def write(run: Run) -> None:
        shell = await run.client.open("shell")
        assert isinstance(shell, SSHClient)
        done = await shell.run("id -u; ls /bundle 2>&1; echo hello > answer.txt")
        assert done.returncode == 0, done.stderr
        assert "tasks.py" not in str(done.stdout)

    job = await Taskset("shell", [task("walled", "shell")]).run(
        write, runtime=BundleRuntime(bundle), group=2
    )
    assert [(run.outcome, run.reward) for run in job.runs] == [(Outcome.GRADED, 1.0)] * 2, [
        run.trace.error for run in job.runs
    ]


async def test_an_agent_has_a_browser_that_is_not_among_the_systems_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = chromium_program()
    elsewhere = tmp_path / "chromium-1234" / "chrome-linux"
    shutil.copytree(program.parent, elsewhere, copy_function=_link_or_copy)
    (elsewhere / program.name).rename(elsewhere / "chrome")
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    (tmp_path / "browsing").mkdir()
    (tmp_path / "browsing" / "tasks.py").write_text(
        "from hud import Environment\n"
        "env = Environment('browsing')\n"
        "env.browser(url='data:text/html,<title>inside</title>')\n"
        "@env.template()\n"
        "async def title():\n"
        "    yield float((yield 'Say the title.') == 'inside')\n"
    )

    async def read(run: Run) -> str:
        page = await run.client.open("browser")
        assert isinstance(page, CDPClient)
        return str(await page.evaluate("document.title"))

    runtime = BundleRuntime(tmp_path / "browsing", store=tmp_path / "bundles")
    job = await Taskset("page", [task("browsing", "title")]).run(read, runtime=runtime)
    assert [(run.outcome, run.reward) for run in job.runs] == [(Outcome.GRADED, 1.0)], [
        run.trace.error for run in job.runs
    ]


def _link_or_copy(source: str, to: str) -> None:
    try:
        os.link(source, to)
    except OSError:  # another file system
        shutil.copy2(source, to)


async def test_who_sweeps_up_on_the_machine_spares_the_walls_inside(bundle: Bundle) -> None:
    row = task("walled", "shell")
    async with started(BundleRuntime(bundle), row) as (_, client, _prompt):
        shell = await client.open("shell")
        assert isinstance(shell, SSHClient)
        await _in_another_process(bundle)
        await shell.run("echo hello > answer.txt")
        assert (await client.grade({"answer": ""}))["score"] == 1.0


async def test_an_environment_killed_while_it_grades_is_no_zero(bundle: Bundle) -> None:
    async with BundleRuntime(bundle) as runtime:
        async with started(runtime, task("walled", "hold")) as (place, client, _prompt):
            assert runtime.parent_pid is not None
            grading = asyncio.ensure_future(client.grade({"answer": ""}))
            victim = await _rollout_below(runtime.parent_pid)
            os.kill(victim, signal.SIGKILL)
            with pytest.raises(RuntimeFault):
                await grading
            assert "SIGKILL" in str(await place.params["exit_reason"].wait(30))
        assert await score_of(runtime, task("walled", "leave", name="after"), "") == 1.0


async def test_a_killed_root_ends_its_rollouts_and_is_replaced(bundle: Bundle) -> None:
    async with BundleRuntime(bundle) as runtime:
        async with started(runtime, task("walled", "hold")) as (place, client, _prompt):
            root = runtime.parent_pid
            assert root is not None
            inside = processes.descendants_of(root)
            grading = asyncio.ensure_future(client.grade({"answer": ""}))
            os.kill(root, signal.SIGKILL)
            with pytest.raises(RuntimeFault):
                await grading
            assert await place.params["exit_reason"].wait(30) is not None
        await _until_gone(inside)
        assert await score_of(runtime, task("walled", "leave", name="after"), "") == 1.0
        assert runtime.parent_pid != root


async def test_a_job_names_the_boundary_that_broke(bundle: Bundle) -> None:
    runtime = BundleRuntime(bundle)

    async def kill(run: Run) -> None:
        assert runtime.parent_pid is not None
        os.kill(await _rollout_below(runtime.parent_pid), signal.SIGKILL)

    job = await Taskset("hold", [task("walled", "hold")]).run(kill, runtime=runtime)
    (run,) = job.runs
    assert run.outcome is Outcome.RUNTIME and math.isnan(run.reward)


async def test_an_eval_process_that_is_killed_leaves_nothing(
    bundle: Bundle, tmp_path: Path
) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from hud.environment.task import Task\n"
        "from hud.runtimes.bundle import BundleRuntime\n"
        "async def main():\n"
        "    runtime = BundleRuntime(Path(sys.argv[1]))\n"
        "    async with runtime, runtime(Task(env='walled', id='hold')) as place:\n"
        "        print(runtime.parent_pid, place.url, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    driver = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(bundle.folder)), stdout=asyncio.subprocess.PIPE
    )
    assert driver.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        root, url = (await driver.stdout.readline()).decode().split()
    held = [int(root), *processes.descendants_of(int(root))]
    driver.kill()
    await driver.wait()
    await _until_gone(held)
    # Its folder says whose it was, and goes with whoever starts the next wall.
    assert Path(url.removeprefix("unix://")).parent.is_dir()
    await _in_another_process(bundle)
    assert not Path(url.removeprefix("unix://")).parent.exists()


@pytest.mark.parametrize(
    "config",
    [
        RuntimeConfig(image="other"),
        RuntimeConfig.model_validate({"resources": {"gpu": {"count": 1}}}),
        RuntimeConfig(resources=RuntimeResources(os="windows")),
    ],
)
async def test_what_it_cannot_give_is_refused_before_anything_starts(
    tmp_path: Path, config: RuntimeConfig
) -> None:
    row = Task(env="walled", id="hold", runtime_config=config)
    runtime = BundleRuntime(tmp_path / "none", store=tmp_path)
    with pytest.raises(InputError, match="which BundleRuntime has not"):
        async with runtime(row):
            pass


async def test_a_limit_on_memory_is_kept_to_and_named(bundle: Bundle) -> None:
    config = RuntimeConfig(
        resources=RuntimeResources(memory_mb=300), limits=RuntimeLimits(startup_timeout_s=60)
    )
    row = task("walled", "eat", megabytes=2000).model_copy(update={"runtime_config": config})
    runtime = BundleRuntime(bundle)
    try:
        async with started(runtime, row) as (place, client, _prompt):
            with pytest.raises(RuntimeFault):
                await client.grade({"answer": ""})
            assert "300 MB of memory" in str(await place.params["exit_reason"].wait(30))
    except RuntimeFault as error:
        if "cannot be enforced" not in error.message:
            raise
        pytest.skip(error.message)


@pytest.mark.usefixtures("limits_on_memory")
async def test_rollouts_that_ask_for_no_memory_share_what_they_are_given(bundle: Bundle) -> None:
    row = task("walled", "eat", megabytes=2000)
    async with BundleRuntime(bundle, memory_ceiling_mb=300) as runtime:
        async with started(runtime, row) as (place, client, _prompt):
            with pytest.raises(RuntimeFault):
                await client.grade({"answer": ""})
            reason = str(await place.params["exit_reason"].wait(30))
        assert "300 MB of memory" in reason
        # The next is not held to account for it.
        assert await score_of(runtime, task("walled", "eat", megabytes=20), "") == 1.0


async def _rollout_below(root: int) -> int:
    """Return the process of the one rollout: the child of what is behind the wall."""
    (parent,) = (pid for pid in processes.descendants_of(root) if _parent_of(pid) == root)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = [pid for pid in processes.descendants_of(root) if _parent_of(pid) == parent]
            if found:
                return found[0]
            await asyncio.sleep(0.01)


def _parent_of(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    return int(text.rpartition(")")[2].split()[1])


async def _until_gone(pids: list[int]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while [pid for pid in pids if processes.identity_of(pid) is not None]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _in_another_process(bundle: Bundle) -> None:
    """Start and end one wall in a process that has started none before."""
    program = (
        "import asyncio, sys\n"
        "from hud.environment.task import Task\n"
        "from hud.runtimes.bundle import BundleRuntime\n"
        "async def main():\n"
        "    async with BundleRuntime(sys.argv[1])(Task(env='walled', id='hold')):\n"
        "        pass\n"
        "asyncio.run(main())\n"
    )
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(bundle.folder))
    assert await done.wait() == 0


async def test_a_warm_root_is_there_when_its_scope_is_open(bundle: Bundle) -> None:
    async with BundleRuntime(bundle, warm=1) as runtime:
        assert runtime.parent_pid is not None
        async with runtime(task("walled", "hold")) as place, connect(place) as client:
            assert client.manifest is not None
