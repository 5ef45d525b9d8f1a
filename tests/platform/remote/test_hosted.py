"""Whole rollouts on the platform, with this package's own client: Python and command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from hud import HostedRuntime, Task, Taskset
from hud.agents.noop import NoopAgent
from hud.agents.run import Run
from tests.e2e.hud_command import Shell, until
from tests.platform.remote.asking import DEADLINE_S
from tests.platform.remote.conftest import Team


@pytest.fixture
def settled(team: Team, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "own"))
    for name, value in team.settings().items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("settled")
async def test_a_taskset_runs_on_the_platform_and_comes_back_as_runs(team: Team) -> None:
    tasks = [
        Task(env="qa", id="ask", args={"number": 1}),
        Task(env="qa", id="broken"),
    ]
    job = await Taskset("mixed", tasks).run(NoopAgent(), runtime=HostedRuntime(), group=2)
    graded = [run for run in job.runs if run.is_graded]
    assert [run.reward for run in graded] == [0.0, 0.0]
    assert {run.member for run in graded} == {0, 1}
    assert {run.outcome.value for run in job.errors if run.outcome} == {"grader"}
    assert all("the grader is broken" in (run.trace.error or "") for run in job.errors)
    with team.client() as client:
        shown = client.get(f"/v2/jobs/{job.id}").json()
    assert (shown["name"], shown["agent"]) == ("mixed (2 tasks) (2 times)", "noop")
    assert shown["counts"]["graded"] == 2


@pytest.mark.usefixtures("settled")
async def test_a_rollout_that_takes_too_long_is_cancelled_there(team: Team, tmp_path: Path) -> None:
    task = Task(env="qa", id="slow", args={"marker": str(tmp_path / "never")})
    job = await task.run(NoopAgent(), runtime=HostedRuntime(run_timeout=1.0))
    [run] = job.runs
    assert run.outcome is not None and run.outcome.value == "timeout"
    with team.client() as client:
        assert client.get("/v2/rollouts/queue").json()["waiting"] == 0


@pytest.mark.usefixtures("settled")
async def test_an_agent_whose_code_is_only_here_is_refused(team: Team) -> None:
    async def mine(run: Run) -> str:
        return "2"

    with pytest.raises(Exception, match="its code is only here"):
        await Task(env="qa", id="ask").run(mine, runtime=HostedRuntime())


def _hud(team: Team, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    from tests.platform.server import environment

    return subprocess.run(
        [sys.executable, "-m", "hud", *words],
        env={**environment(home), **team.settings()},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=home,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_remote_run_leaves_nothing_running_there(
    team: Team, tmp_path: Path, number: signal.Signals
) -> None:
    marker = tmp_path / "never"
    rows = [{"env": "qa", "id": "slow", "args": {"marker": f"{marker}{n}"}} for n in range(2)]
    shell = Shell(tmp_path)
    shell.env |= team.settings()
    shell.write("rows.jsonl", "\n".join(json.dumps(row) for row in rows))
    with (
        team.client() as client,
        shell.started("eval", "rows.jsonl", "noop", "--remote", "--all") as running,
    ):
        until(lambda: len(client.get("/v2/jobs").json()["items"]) == 1)
        [job] = client.get("/v2/jobs").json()["items"]
        until(lambda: len(_statuses(client, job["id"])) == 2)
        running.process.send_signal(number)
        running.says("stopping: nothing new is started")
        running.process.send_signal(number)
        ended = running.ended()
        assert ended.code == 130, ended.err
        until(lambda: set(_statuses(client, job["id"])) == {"cancelled"})
        queue = client.get("/v2/rollouts/queue").json()
    assert queue["waiting"] == 0
    assert "2 × cancelled" in ended.err
    assert f"{team.server.url}/jobs/{job['id']}" in ended.err


def _statuses(client: httpx.Client, job_id: str) -> list[str]:
    return [run["status"] for run in client.get(f"/v2/jobs/{job_id}/traces").json()["items"]]


def _taskset(team: Team, name: str, *tasks: str) -> None:
    rows = [{"name": task, "env": {"name": "qa"}, "task_id": task, "args": {}} for task in tasks]
    with team.client() as client:
        reply = client.post("/v2/tasks/upload", json={"taskset_name": name, "tasks": rows})
        assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("how", [("--remote",), (), ("--runtime", "hud")])
def test_the_command_line_runs_a_taskset_of_the_platform(
    team: Team, tmp_path: Path, how: tuple[str, ...]
) -> None:
    _taskset(team, "asking", "ask")
    done = _hud(team, tmp_path, "eval", "asking", "noop", "--group", "3", "--json", *how)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["total"], said["graded"], said["mean"]) == (3, 3, 0.0)
    with team.client() as client:
        shown = client.get(f"/v2/jobs/{said['job_id']}").json()
    assert shown["counts"]["graded"] == 3
    assert shown["taskset_name"] == "asking"


def test_a_remote_eval_with_an_ungraded_run_says_so(team: Team, tmp_path: Path) -> None:
    _taskset(team, "half", "ask", "broken")
    done = _hud(team, tmp_path, "eval", "half", "noop", "--all", "--remote")
    assert done.returncode == 3, done.stderr
    assert "1 of 2 graded" in done.stdout
    assert "the grader is broken" in done.stderr
    assert f"{team.server.url}/jobs/" in done.stderr


def test_the_reference_solution_is_refused_before_anything_is_asked(
    team: Team, tmp_path: Path
) -> None:
    _taskset(team, "asking", "ask")
    (tmp_path / "env.py").write_text("from hud import Environment\nenv = Environment('qa')\n")
    done = _hud(team, tmp_path, "eval", "asking", "oracle", "--remote", "--source", "env.py")
    assert done.returncode == 2
    assert "cannot run on a platform" in done.stderr
