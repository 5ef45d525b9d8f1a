"""Rollouts that the platform runs: shown at once, run once, recorded as any run is."""

from __future__ import annotations

from pathlib import Path

import pytest

from hud._core.ids import new_id
from tests.platform.remote.asking import over, state, submit, until
from tests.platform.remote.conftest import Team

DATABASES = ("sqlite", "postgres")


def test_a_rollout_is_shown_at_once_and_ends_graded(team: Team) -> None:
    job = new_id()
    with team.client() as client:
        run = submit(client, args={"number": 3}, job_id=job, slug="three", group_id="g")
        assert state(client, run)["status"] in ("pending", "running", "completed")
        ended = over(client, run)
        assert (ended["status"], ended["outcome"], ended["reward"]) == ("completed", "graded", 0.0)
        assert (ended["task_slug"], ended["group_id"], ended["job_id"]) == ("three", "g", job)
        assert ended["evaluation_result"]["score"] == 0.0
        steps = client.get(f"/v2/trace/{run}/steps").json()["items"]
        assert [step["source"] for step in steps] == ["task", "user", "task"]
        shown = client.get(f"/v2/jobs/{job}").json()
    assert (shown["status"], shown["counts"]["graded"]) == ("completed", 1)


def test_one_id_is_run_once_however_often_it_is_asked_for(team: Team) -> None:
    job, run = new_id(), new_id()
    with team.client() as client:
        for _ in range(3):
            submit(client, run_id=run, job_id=job)
        over(client, run)
        submit(client, run_id=run, job_id=job)
        counts = client.get(f"/v2/jobs/{job}").json()["counts"]
        assert client.get("/v2/rollouts/queue").json() == {"waiting": 0, "running": 0}
    assert (counts["runs"], counts["attempts"]) == (1, 1)


def test_repeats_of_a_task_are_members_of_their_own(team: Team) -> None:
    job = new_id()
    with team.client() as client:
        runs = [submit(client, job_id=job) for _ in range(4)]
        members = {over(client, run)["member"] for run in runs}
    assert members == {0, 1, 2, 3}


def test_an_ungraded_run_whose_place_died_is_tried_again_under_its_own_id(
    team: Team, tmp_path: Path
) -> None:
    job = new_id()
    with team.client() as client:
        run = submit(client, "killed", job_id=job, args={"marker": str(tmp_path / "died")})
        ended = over(client, run)
        assert (ended["outcome"], ended["reward"], ended["attempt"]) == ("graded", 1.0, 2)
        counts = client.get(f"/v2/jobs/{job}").json()["counts"]
        assert (counts["runs"], counts["attempts"], counts["graded"]) == (1, 2, 1)
        attempts = client.get("/v2/traces", params={"job_id": job}).json()["items"]
        [first] = [one for one in attempts if one["id"] != run]
        assert (first["attempt"], first["outcome"], first["reward"]) == (1, "runtime", None)
        steps = client.get(f"/v2/trace/{first['id']}/steps").json()["items"]
        assert "task" in [step["source"] for step in steps]


def test_a_broken_grader_is_no_zero_and_is_not_tried_again(team: Team) -> None:
    with team.client() as client:
        ended = over(client, submit(client, "broken"))
    assert (ended["status"], ended["outcome"], ended["reward"]) == ("error", "grader", None)
    assert ended["attempt"] == 1
    assert "the grader is broken" in ended["error"]


def test_a_run_under_way_is_cancelled(team: Team, tmp_path: Path) -> None:
    with team.client() as client:
        run = submit(client, "slow", args={"marker": str(tmp_path / "go")})
        until(client, run, "running")
        assert client.post("/v2/rollouts/cancel", json={"trace_id": run}).json()["status"] == (
            "accepted"
        )
        ended = over(client, run)
        again = client.post("/v2/rollouts/cancel", json={"trace_id": run}).json()
    assert (ended["status"], ended["outcome"], ended["reward"]) == ("cancelled", "cancelled", None)
    assert ended["error"].startswith("cancelled by ")
    assert again["status"] == "finished"


def test_a_job_is_cancelled_whole(team: Team, tmp_path: Path) -> None:
    job = new_id()
    with team.client() as client:
        runs = [
            submit(client, "slow", job_id=job, args={"marker": str(tmp_path / "go")})
            for _ in range(30)
        ]
        told = client.post("/v2/rollouts/cancel_job", json={"job_id": job}).json()
        ends = [over(client, run) for run in runs]
    assert told == {"job_id": job, "cancelled": 30, "total_found": 30}
    assert {end["status"] for end in ends} == {"cancelled"}


def test_everything_of_a_person_is_cancelled(team: Team, tmp_path: Path) -> None:
    job = new_id()
    with team.client() as client:
        run = submit(client, "slow", job_id=job, args={"marker": str(tmp_path / "go")})
        told = client.post("/v2/rollouts/cancel_user_jobs", json={}).json()
        over(client, run)
    assert told["job_details"] == [{"job_id": job, "cancelled": 1}]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"env": "nobody"}, 404, "there is no environment 'nobody'"),
        ({"task": "unheard-of"}, 400, "has no task 'unheard-of'"),
        ({"agent": {"type": "oracle"}}, 400, "its solutions are in the source"),
        ({"agent": {"type": "mine.py:agent"}}, 400, "no agent of that name"),
        ({"agent": {"type": "claude", "config": {"max_tokens": -1}}}, 400, "max_tokens"),
        ({"trace_id": "../x"}, 400, "is no id"),
        ({"runtime_config": {"colour": "red"}}, 400, "runtime_config.colour"),
    ],
)
def test_what_cannot_be_run_is_refused_before_it_is_queued(
    team: Team, asked: dict[str, object], status: int, said: str
) -> None:
    body = {"trace_id": new_id(), "job_id": new_id(), "env": "qa", "task": "ask"}
    body |= {"agent": {"type": "noop"}, **asked}
    with team.client() as client:
        reply = client.post("/v2/rollouts/submit", json=body)
    assert reply.status_code == status
    assert said in reply.json()["detail"]
