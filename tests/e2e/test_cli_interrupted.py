"""A job that is stopped, however that happens, keeps what is graded and goes on later."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from hud.packaging.root import problem
from tests.e2e.hud_command import Running, Shell, until
from tests.needs import missing

# Every rollout says that it started, then waits until it may go on.
GATED = """
import asyncio
from pathlib import Path
from hud import Environment

here = Path(__file__).parent
env = Environment(name="gated")

async def reference(run, n: int):
    return "yes"

@env.template(solution=reference)
async def gated(n: int):
    (here / f"started-{n}").touch()
    while not ((here / f"go-{n}").exists() or (here / "go").exists()):
        await asyncio.sleep(0.01)
    answer = yield f"number {n}"
    yield 1.0 if answer == "yes" else 0.0

tasks = [gated(n=n) for n in range(6)]
for number, task in enumerate(tasks):
    task.slug = f"gated-{number}"
"""

RUN = ("eval", "tasks.py", "oracle", "--all", "--max-concurrent", "2", "--json")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.write("tasks.py", GATED)
    return shell


def _started(shell: Shell) -> int:
    return len(list(shell.folder.glob("started-*")))


def _go(shell: Shell, name: str = "go") -> None:
    (shell.folder / name).touch()


def _job(shell: Shell) -> str:
    [job] = shell("jobs", "--json").data["jobs"]
    return job["id"]


def _graded(shell: Shell) -> dict[str, str]:
    """Return the graded runs of the only job: task to run id."""
    runs = shell("jobs", _job(shell), "--json", "--limit", "0").data["runs"]
    return {run["task"]: run["trace_id"] for run in runs if run["outcome"] == "graded"}


def _with_one_graded(shell: Shell, running: Running) -> dict[str, str]:
    """Let the first task through, wait until that is durable, and return the graded runs."""
    until(lambda: _started(shell) == 2)
    _go(shell, "go-0")
    running.says("gated-0 #1  reward 1.000")
    return _graded(shell)


@pytest.mark.parametrize("runtime", ["local", "subprocess"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_ctrl_c_starts_nothing_new_and_keeps_what_ends_in_time(
    shell: Shell, runtime: str, number: signal.Signals
) -> None:
    with shell.started(*RUN, "--runtime", runtime) as running:
        until(lambda: _started(shell) == 2)
        running.process.send_signal(number)
        running.says("stopping: nothing new is started")
        _go(shell)
        stopped = running.ended()
    assert stopped.code == 130, stopped.err
    assert stopped.data["graded"] == 2
    assert stopped.data["ungraded"] == {"not run": 4}
    assert _started(shell) == 2
    assert f"hud eval --resume {stopped.data['job_id']}" in stopped.err

    resumed = shell("eval", "--resume", stopped.data["job_id"], "--json")
    assert resumed.code == 0, resumed.err
    assert (resumed.data["graded"], resumed.data["attempts"]) == (6, 6)
    kept = {run["trace_id"] for run in stopped.data["runs"]}
    assert kept < {run["trace_id"] for run in resumed.data["runs"]}


@pytest.mark.parametrize("runtime", ["local", "subprocess"])
def test_a_second_ctrl_c_stops_at_once(shell: Shell, runtime: str) -> None:
    with shell.started(*RUN, "--runtime", runtime) as running:
        _with_one_graded(shell, running)
        running.process.send_signal(signal.SIGINT)
        running.says("stopping: nothing new is started")
        running.process.send_signal(signal.SIGINT)
        stopped = running.ended()
    assert stopped.code == 130, stopped.err
    assert stopped.data["graded"] == 1
    assert stopped.data["ungraded"] == {"not run": 3, "cancelled": 2}
    assert stopped.data["mean"] == 1.0, "what was cancelled is no zero"


def test_an_interrupt_while_the_source_is_imported_ends_with_130(shell: Shell) -> None:
    shell.write(
        "tasks.py",
        # Short naps: a signal that comes just before one long wait would be seen after it.
        "import pathlib, time\npathlib.Path('importing').touch()\n"
        "while True:\n    time.sleep(0.02)\n",
    )
    with shell.started("eval", "tasks.py", "noop") as running:
        until((shell.folder / "importing").exists)
        running.process.send_signal(signal.SIGINT)
        assert running.ended().code == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_bundle_that_is_interrupted_leaves_nothing(shell: Shell, number: signal.Signals) -> None:
    if (why := problem()) is not None:
        missing(why)
    shell.write("tasks.py", "import time\nprint('importing', flush=True)\ntime.sleep(600)\n")
    with shell.started("build", "--bundle") as running:
        running.says("importing")
        running.process.send_signal(number)
        ended = running.ended()
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.splitlines()[-1] == "interrupted"
    assert list((shell.home / "bundles").iterdir()) == []
    assert [path.name for path in shell.folder.iterdir()] == ["tasks.py"]


@pytest.mark.parametrize("runtime", ["local", "subprocess"])
def test_a_killed_job_goes_on_with_nothing_graded_lost_or_run_again(
    shell: Shell, runtime: str
) -> None:
    with shell.started(*RUN, "--runtime", runtime) as running:
        before = _with_one_graded(shell, running)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
    assert set(before) == {"gated-0"}
    [job] = shell("jobs", "--json").data["jobs"]
    assert job["status"] == "interrupted"
    assert "unfinished" in shell("jobs", job["id"]).out

    _go(shell)
    resumed = shell("eval", "--resume", job["id"][:20], "--json")
    assert resumed.code == 0, resumed.err
    assert (resumed.data["graded"], resumed.data["mean"]) == (6, 1.0)
    assert before.items() <= _graded(shell).items()
    runs = shell("jobs", job["id"], "--json", "--limit", "0").data["runs"]
    assert [run["attempt"] for run in runs if run["task"] == "gated-0"] == [1]

    again = shell("eval", "--resume", job["id"])
    assert again.code == 0
    assert "graded already; nothing was run" in again.err
    assert "6 of 6 graded" in again.out


def test_two_resumes_of_one_job_at_once_are_refused(shell: Shell) -> None:
    with shell.started(*RUN, "--runtime", "local") as running:
        _with_one_graded(shell, running)
        second = shell("eval", "--resume", _job(shell), "--runtime", "local")
        assert second.code == 2
        assert f"process {running.process.pid}" in second.err
        _go(shell)
        first = running.ended()
    assert first.code == 0, first.err
    assert first.data["graded"] == 6


def test_a_resume_of_something_else_is_refused_and_names_the_difference(shell: Shell) -> None:
    with shell.started(*RUN, "--runtime", "local") as running:
        _with_one_graded(shell, running)
        running.process.kill()
    job = _job(shell)
    changed = {
        "group": ["--group", "2"],
        "runtime": ["--runtime", "subprocess"],
        "agent": ["tasks.py", "noop"],
        "max_steps": ["--max-steps", "3"],
    }
    for named, args in changed.items():
        refused = shell("eval", "--resume", job, *args)
        assert refused.code == 2, refused.err
        assert named in refused.err, refused.err

    shell.write("tasks.py", GATED.replace("range(6)", "range(1, 7)"))
    refused = shell("eval", "--resume", job)
    assert refused.code == 2
    assert "tasks.py changed" in refused.err
    assert "gated-0" in refused.err

    shell.write("tasks.py", GATED)
    _go(shell)
    resumed = shell("eval", "--resume", job, "--json", "--max-concurrent", "5", "--retries", "0")
    assert resumed.code == 0, resumed.err
    assert resumed.data["graded"] == 6
