"""Nothing of one team can be reached by another, on any route of records."""

from __future__ import annotations

from typing import Any, cast

import httpx
import pytest

from hud._core.ids import new_id
from tests.platform.spans import step, upload_path

DATABASES = ("sqlite", "postgres")

READ = (
    "/v2/jobs/{job}",
    "/v2/jobs/{job}/traces",
    "/v2/jobs/{job}/events",
    "/v2/trace/{run}",
    "/v2/trace/{run}/steps",
    "/v2/trace/{run}/events",
    "/v2/trace/{run}/spans",
    "/v2/trace/{run}/download",
    "/v2/trace/{run}/live",
    "/v2/blobs/{blob}",
)
CHANGE: tuple[tuple[str, str, Any], ...] = (
    ("PUT", "/v2/trace/{run}/invalid", {"reason": "x"}),
    ("DELETE", "/v2/trace/{run}/invalid", None),
    ("DELETE", "/v2/jobs/{job}", None),
    ("POST", "/v2/rollouts/cancel", {"trace_id": "{run}"}),
    ("POST", "/v2/rollouts/cancel_job", {"job_id": "{job}"}),
)
REPORTS = (
    "/v2/trace/job/{job}/enter",
    "/v2/trace/{run}/enter",
    "/v2/trace/{run}/exit",
    "/telemetry/v3/api/trace/{run}/telemetry-upload",
)
LISTS = ("/v2/jobs", "/v2/traces", "/v2/jobs/events")


@pytest.fixture
def theirs(client: httpx.Client) -> dict[str, str]:
    """Return the ids of another team's job, run and blob."""
    ids = {"job": new_id(), "run": new_id(), "blob": ""}
    client.post(f"/v2/trace/{ids['run']}/enter", json={"job_id": ids["job"], "task_slug": "t"})
    spans = [step(ids["run"], 1, {"content": "x" * 100_000})]
    client.post(upload_path(ids["run"]), json={"telemetry": spans})
    [kept] = client.get(f"/v2/trace/{ids['run']}/steps").json()["items"]
    ids["blob"] = kept["payload"]["content"]["$blob"]
    return ids


@pytest.fixture
def stranger(server: Any, open_client: Any) -> httpx.Client:
    return open_client(server.key(team="strangers"))


def spelled(text: Any, ids: dict[str, str]) -> Any:
    if isinstance(text, dict):
        table = cast("dict[str, Any]", text)
        return {key: spelled(value, ids) for key, value in table.items()}
    return text.format(**ids) if isinstance(text, str) else text


@pytest.mark.parametrize("path", READ)
def test_another_team_sees_nothing(
    client: httpx.Client, stranger: httpx.Client, theirs: dict[str, str], path: str
) -> None:
    answer = stranger.get(spelled(path, theirs))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert not set(theirs.values()) & set(answer.text.replace(spelled(path, theirs), ""))


@pytest.mark.parametrize(("method", "path", "body"), CHANGE)
def test_another_team_changes_nothing(
    client: httpx.Client,
    stranger: httpx.Client,
    theirs: dict[str, str],
    method: str,
    path: str,
    body: Any,
) -> None:
    before = client.get(f"/v2/trace/{theirs['run']}").json()
    answer = stranger.request(method, spelled(path, theirs), json=spelled(body, theirs))
    assert answer.status_code == 404
    assert client.get(f"/v2/trace/{theirs['run']}").json() == before


def test_what_another_team_reports_of_the_same_ids_is_its_own(
    client: httpx.Client, stranger: httpx.Client, theirs: dict[str, str]
) -> None:
    job, run = theirs["job"], theirs["run"]
    before = client.get(f"/v2/trace/{run}").json()
    stranger.post(f"/v2/trace/job/{job}/enter", json={"name": "mine", "group": 1})
    stranger.post(f"/v2/trace/{run}/enter", json={"job_id": job, "task_slug": "mine"})
    stranger.post(upload_path(run), json={"telemetry": [step(run, 1), step(run, 2)]})
    body = {"status": "completed", "evaluation_result": {"score": 1.0}}
    stranger.post(f"/v2/trace/{run}/exit", json=body)
    assert stranger.get(f"/v2/trace/{run}").json()["reward"] == 1.0
    assert client.get(f"/v2/trace/{run}").json() == before
    assert len(client.get(f"/v2/trace/{run}/steps").json()["items"]) == 1
    assert client.get(f"/v2/jobs/{job}").json()["name"] == ""
    stranger.request("DELETE", f"/v2/jobs/{job}")
    assert client.get(f"/v2/trace/{run}").json() == before


def test_ending_all_jobs_ends_none_of_another_team(
    client: httpx.Client, stranger: httpx.Client, theirs: dict[str, str]
) -> None:
    told = stranger.post("/v2/rollouts/cancel_user_jobs", json={}).json()
    assert theirs["job"] not in {each["job_id"] for each in told["job_details"]}
    again = client.post(f"/v2/trace/{theirs['run']}/enter", json={"job_id": theirs["job"]})
    assert again.json()["cancel_job"] is False


@pytest.mark.parametrize("path", [*READ, *LISTS, *REPORTS, *(path for _, path, _ in CHANGE)])
def test_nobody_comes_in_without_a_key(open_client: Any, theirs: dict[str, str], path: str) -> None:
    method = next((how for how, where, _ in CHANGE if where == path), "GET")
    method = "POST" if path in REPORTS else method
    for key in (None, "hud_" + "x" * 40):
        answer = open_client(key).request(method, spelled(path, theirs), json={})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
