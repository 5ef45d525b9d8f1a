"""Whole tasksets that the platform runs: begun at once, ended by themselves, tried again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx

from hud.testing.model_server import Question
from tests.platform.gateway.gatewayed import PROVIDER_KEY
from tests.platform.gateway.threaded import model_server
from tests.platform.remote.asking import DEADLINE_S, NOOP
from tests.platform.remote.conftest import Team, team_with_qa

MODEL = "gpt-5.4-mini"


def sync(client: httpx.Client, *tasks: dict[str, Any], name: str = "checks") -> str:
    """Keep a taskset on the platform and return its id."""
    rows = [{"env": "qa", **task} for task in tasks]
    reply = client.post("/v2/tasks/upload", json={"taskset_name": name, "tasks": rows})
    assert reply.status_code == 200, reply.text
    found = client.get("/v2/tasksets", params={"limit": 100}).json()["items"]
    return next(one["id"] for one in found if one["name"] == name)


def run(client: httpx.Client, taskset: str, **wanted: Any) -> httpx.Response:
    return client.post(f"/v2/tasksets/{taskset}/run", json={"agent": NOOP, "retries": 0, **wanted})


def ended(client: httpx.Client, job: str) -> dict[str, Any]:
    """Return a job once it is over and nothing of it waits."""
    ends = time.monotonic() + DEADLINE_S
    while True:
        found = client.get(f"/v2/jobs/{job}").json()
        if found["status"] != "running" and not found["counts"]["running"]:
            return found
        assert time.monotonic() < ends, found
        time.sleep(0.02)


def test_every_task_of_a_taskset_is_run_as_often_as_wanted(team: Team) -> None:
    with team.client() as client:
        tasks = [{"id": "ask", "slug": f"ask-{n}", "args": {"number": n}} for n in (1, 2, 3)]
        taskset = sync(client, *tasks)
        reply = run(client, taskset, group=2)
        assert reply.status_code == 200, reply.text
        told = reply.json()
        job = ended(client, told["job_id"])
        runs = client.get(f"/v2/jobs/{told['job_id']}/traces").json()["items"]
    assert told["rollouts"] == 6
    assert (job["name"], job["status"]) == ("checks (3 tasks) (2 times)", "completed")
    assert (job["taskset_name"], job["agent"]) == ("checks", "noop")
    assert sorted((one["task_slug"], one["member"]) for one in runs) == [
        (f"ask-{n}", member) for n in (1, 2, 3) for member in (0, 1)
    ]
    assert {one["outcome"] for one in runs} == {"graded"}


def test_the_settings_of_a_row_are_laid_over_those_of_the_agent(team: Team) -> None:
    told: list[str] = []

    def answer(question: Question) -> str:
        told.append(question.system)
        return "2"

    model = {"type": "openai_compatible", "config": {"model": MODEL, "system_prompt": "be long"}}
    rows = (
        {"id": "ask", "slug": "own", "agent_config": {"system_prompt": "be brief"}},
        {"id": "ask", "slug": "none"},
        {"id": "ask", "slug": "wrong", "agent_config": {"api_key": "somebody's"}},
    )
    with team.client() as client, model_server(answer, api_key=PROVIDER_KEY) as models:
        body = {"base_url": models.base_url("chat"), "api_key": PROVIDER_KEY, "dialect": "openai"}
        assert client.put("/v2/providers/openai", json=body).status_code == 200
        job = run(client, sync(client, *rows), agent=model).json()["job_id"]
        ended(client, job)
        runs = client.get(f"/v2/jobs/{job}/traces").json()["items"]
    found = {one["task_slug"]: (one["outcome"], one["reward"]) for one in runs}
    assert found == {"own": ("graded", 1.0), "none": ("graded", 1.0), "wrong": ("agent", None)}
    assert sorted(told) == ["be brief", "be long"]
    [wrong] = [one for one in runs if one["task_slug"] == "wrong"]
    assert "may not set api_key" in wrong["error"]


def test_single_tasks_and_those_that_fit_are_run(team: Team) -> None:
    with team.client() as client:
        tasks = [{"id": "ask", "slug": f"ask-{n}", "args": {"number": n}} for n in (1, 2, 30)]
        taskset = sync(client, *tasks)
        for wanted, slugs in (
            ({"slugs": ["ask-2", "ask-30"]}, ["ask-2", "ask-30"]),
            ({"search": "ASK-3"}, ["ask-30"]),
            ({"env": "qa"}, ["ask-1", "ask-2", "ask-30"]),
        ):
            told = run(client, taskset, **wanted).json()
            ended(client, told["job_id"])
            runs = client.get(f"/v2/jobs/{told['job_id']}/traces").json()["items"]
            assert sorted(one["task_slug"] for one in runs) == slugs, wanted
        for wanted in ({"env": "other"}, {"search": "nothing like it"}):
            refused = run(client, taskset, **wanted)
            assert refused.status_code == 409
            assert refused.json()["detail"] == "taskset 'checks' has no task that fits"
        refused = run(client, taskset, slugs=["ask-1"], search="ask-2")
        assert (refused.status_code, refused.json()["detail"]) == (
            404,
            "taskset 'checks' has no task 'ask-1' that fits",
        )


def test_only_what_is_ungraded_is_run_again(team: Team) -> None:
    with team.client() as client:
        taskset = sync(client, {"id": "ask", "slug": "fine"}, {"id": "broken", "slug": "broken"})
        job = run(client, taskset).json()["job_id"]
        before = ended(client, job)["counts"]
        told = client.post(f"/v2/jobs/{job}/retry").json()
        ends = time.monotonic() + DEADLINE_S
        while (after := client.get(f"/v2/jobs/{job}").json()["counts"])["attempts"] < 3 or after[
            "running"
        ]:
            assert time.monotonic() < ends, after
            time.sleep(0.02)
        runs = client.get(f"/v2/jobs/{job}/traces").json()["items"]
    assert (before["graded"], before["ungraded"], before["attempts"]) == (1, {"grader": 1}, 2)
    assert told == {"job_id": job, "rollouts": 1}
    assert (after["runs"], after["graded"], after["ungraded"]) == (2, 1, {"grader": 1})
    again = [(one["member"], one["attempt"]) for one in runs if one["task_slug"] == "broken"]
    assert sorted(again) == [(0, 1), (0, 2)]


def test_a_launched_job_is_cancelled_whole(team: Team, tmp_path: Path) -> None:
    with team.client() as client:
        marker = {"marker": str(tmp_path / "go")}
        taskset = sync(client, {"id": "slow", "slug": "slow", "args": marker})
        job = run(client, taskset, group=20).json()["job_id"]
        assert (
            client.post("/v2/rollouts/cancel_job", json={"job_id": job}).json()["cancelled"] == 20
        )
        counts = ended(client, job)["counts"]
        told = client.post(f"/v2/jobs/{job}/retry").json()
    assert counts["ungraded"] == {"cancelled": 20}
    assert told["rollouts"] == 0, "what somebody cancelled is not begun again"


def test_what_cannot_be_run_is_refused_before_anything_begins(team: Team) -> None:
    with team.client() as client:
        taskset = sync(client, {"id": "ask", "slug": "ask"})
        oracle = run(client, taskset, agent={"type": "oracle", "config": {}})
        unknown = run(client, taskset, slugs=["nothing"])
        unserved = run(client, taskset, agent={"type": "claude", "config": {}})
        elsewhere = sync(client, {"id": "ask", "env": "nowhere"}, name="elsewhere")
        undeployed = run(client, elsewhere)
        jobs = client.get("/v2/jobs").json()["items"]
        reported = client.post(f"/v2/trace/job/{'a' * 32}/enter", json={"name": "mine"})
        assert reported.status_code == 200, reported.text
        not_launched = client.post(f"/v2/jobs/{'a' * 32}/retry")
    assert oracle.status_code == 400 and "solutions" in oracle.json()["detail"]
    assert unserved.status_code == 409, unserved.text
    assert "hud providers add" in unserved.json()["detail"]
    assert unknown.status_code == 404 and "no task 'nothing'" in unknown.json()["detail"]
    assert undeployed.status_code in (404, 409), undeployed.text
    assert jobs == []
    assert not_launched.status_code == 409 and "hud eval --resume" in not_launched.json()["hint"]


def test_a_model_that_only_a_row_names_has_to_be_served_too(team: Team) -> None:
    agent = {"type": "openai_compatible", "config": {"model": "nobody-serves-this"}}
    row = {"id": "ask", "slug": "own", "agent_config": {"model": MODEL}}
    with team.client() as client, model_server(lambda asked: "2", api_key=PROVIDER_KEY) as models:
        body = {"base_url": models.base_url("chat"), "api_key": PROVIDER_KEY, "dialect": "openai"}
        assert client.put("/v2/providers/openai", json=body).status_code == 200
        served = run(client, sync(client, row), agent=agent)
        assert served.status_code == 200, served.text
        counts = ended(client, served.json()["job_id"])["counts"]
        refused = run(client, sync(client, row, {"id": "ask", "slug": "not"}), agent=agent)
        jobs = client.get("/v2/jobs").json()["items"]
    assert counts["graded"] == 1
    assert refused.status_code == 409 and "nobody-serves-this" in refused.json()["detail"]
    assert len(jobs) == 1


def test_nobody_runs_the_taskset_of_another_team(team: Team) -> None:
    other = team_with_qa(team.server)
    with team.client() as client, other.client() as stranger:
        taskset = sync(client, {"id": "ask", "slug": "ask"})
        job = run(client, taskset).json()["job_id"]
        ended(client, job)
        assert run(stranger, taskset).status_code == 404
        assert stranger.post(f"/v2/jobs/{job}/retry").status_code == 404
