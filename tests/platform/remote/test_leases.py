"""An environment lent by a platform: the agent works here, and nothing stays behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from hud import HUDRuntime, Task, Taskset
from hud.agents.run import Run
from tests.platform.remote.conftest import Team

pytestmark = pytest.mark.usefixtures("settled")


@pytest.fixture
def settled(team: Team, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "own"))
    for name, value in team.settings().items():
        monkeypatch.setenv(name, value)


async def _answers(run: Run) -> str:
    return str(int(run.args["number"]) + 1)


async def test_a_taskset_runs_in_lent_environments_with_the_rewards_of_a_local_run(
    team: Team,
) -> None:
    tasks = [Task(env="qa", id="ask", args={"number": number}) for number in range(4)]
    job = await Taskset("numbers", tasks).run(_answers, runtime=HUDRuntime())
    assert [run.reward for run in job.runs] == [1.0] * 4
    with team.client() as client:
        left = client.get("/runtime/sessions").json()["items"]
        all_of_them = client.get("/runtime/sessions", params={"open_only": False}).json()["items"]
    assert left == []
    assert [one["reason"] for one in all_of_them] == ["it was given back"] * 4
    assert {one["trace_id"] for one in all_of_them} == {run.trace_id for run in job.runs}


async def test_an_environment_nobody_deployed_is_said_to_be_missing() -> None:
    job = await Taskset("none", [Task(env="nobody", id="ask")]).run(_answers, runtime=HUDRuntime())
    [run] = job.runs
    assert not run.is_graded
    assert "there is no environment 'nobody'" in (run.trace.error or "")
