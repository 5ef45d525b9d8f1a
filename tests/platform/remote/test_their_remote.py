"""The published client runs here unchanged: lent environments, whole rollouts, its command line."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from hud.testing.model_server import Say
from tests.platform.gateway.gatewayed import PROVIDER_KEY
from tests.platform.gateway.threaded import model_server
from tests.platform.programs import Published
from tests.platform.remote.conftest import Team, team_with_qa
from tests.platform.remote.their_remote import PROGRAM
from tests.platform.server import Server

PROVIDERS = (("openai", "openai", "responses"), ("anthropic", "anthropic", "messages"))


class Theirs(Published):
    """The published client with a team whose models answer "42"."""

    def __init__(self, python: Path, team: Team, folder: Path) -> None:
        super().__init__(python, team.server, folder, team.key)
        self.team = team


@pytest.fixture(scope="module")
def theirs(
    server: Server, peer_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Theirs]:
    team = team_with_qa(server, "theirs")
    with model_server(lambda question: Say("42"), api_key=PROVIDER_KEY) as models:
        with team.client() as client:
            for name, dialect, kind in PROVIDERS:
                body = {"base_url": models.base_url(kind), "api_key": PROVIDER_KEY}
                reply = client.put(f"/v2/providers/{name}", json={**body, "dialect": dialect})
                assert reply.status_code == 200, reply.text
            rows = [
                {"name": name, "env": {"name": "qa"}, "task_id": "ask", "args": {"number": number}}
                for name, number in (("right", 41), ("wrong", 1))
            ]
            upload = {"taskset_name": "their-taskset", "tasks": rows}
            assert client.post("/v2/tasks/upload", json=upload).status_code == 200
        yield Theirs(peer_python, team, tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def said(theirs: Theirs) -> dict[str, list[dict[str, Any]]]:
    return json.loads(theirs.run("-c", PROGRAM).splitlines()[-1])


@pytest.mark.parametrize("how", ["hosted claude", "hosted openai", "lent"])
def test_their_runtimes_give_the_rewards_of_a_local_run(
    theirs: Theirs, said: dict[str, list[dict[str, Any]]], how: str
) -> None:
    assert [(run["reward"], run["error"]) for run in said[how]] == [(1.0, None), (0.0, None)]
    assert {run["status"] for run in said[how]} == {"completed"}
    with theirs.team.client() as client:
        shown = [client.get(f"/v2/trace/{run['trace_id']}").json() for run in said[how]]
    assert [run["outcome"] for run in shown] == ["graded", "graded"]


def test_a_broken_grader_reaches_them_as_a_run_without_a_grade(
    said: dict[str, list[dict[str, Any]]],
) -> None:
    [run] = said["hosted broken"]
    assert run["status"] == "error"
    assert "the grader is broken" in run["error"]


def test_models_of_their_hosted_runs_are_paid_by_their_key_and_linked_to_the_run(
    theirs: Theirs, said: dict[str, list[dict[str, Any]]]
) -> None:
    run = said["hosted claude"][0]["trace_id"]
    with theirs.team.client() as client:
        total = client.get("/v2/usage", params={"trace": run}).json()["total"]
        [mine] = [key for key in client.get("/v2/keys").json()["items"] if key["name"] == "test"]
        of_key = client.get("/v2/usage", params={"key": mine["id"]}).json()["total"]
        steps = client.get(f"/v2/trace/{run}/steps").json()["items"]
    assert total["calls"] == 1
    assert of_key["calls"] >= 4
    assert [step["source"] for step in steps] == ["task", "user", "agent", "task"]


def test_their_command_line_runs_a_taskset_remotely(theirs: Theirs) -> None:
    asked = ("eval", "their-taskset", "claude", "-m", "claude-haiku-4-5", "--all", "-y")
    theirs.run("-m", "hud.cli", *asked, "--remote")
    with theirs.team.client() as client:
        newest = client.get("/v2/jobs", params={"limit": 1}).json()["items"][0]
        runs = client.get(f"/v2/jobs/{newest['id']}/traces").json()["items"]
    assert newest["name"].startswith("their-taskset")
    assert sorted(run["reward"] for run in runs) == [0.0, 1.0]


def test_nothing_of_theirs_is_lent_any_more(theirs: Theirs, said: dict[str, Any]) -> None:
    with theirs.team.client() as client:
        assert client.get("/runtime/sessions").json()["items"] == []
        assert client.get("/v2/rollouts/queue").json() == {"waiting": 0, "running": 0}
