"""Leaderboards, publications, comparisons and scorecards over the API."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from hud._core.outcome import Outcome
from hud.store import Store, every_run, open_store
from tests.contenders import record_job
from tests.platform.registry.known import team_of
from tests.platform.server import Server

DATABASES = ("sqlite", "postgres")

GOOD = {f"t{n}": [1.0, 1.0] for n in range(8)}
BAD = {f"t{n}": [0.0, 0.0] for n in range(8)}


@pytest.fixture
def team(server: Server, client: httpx.Client) -> str:
    return team_of(server, client)


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    with contextlib.closing(open_store(server.home, database=server.database)) as opened:
        yield opened


def found(client: httpx.Client, path: str, **params: Any) -> Any:
    reply = client.get(path, params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_leaderboard_ranks_what_ran_a_taskset(
    client: httpx.Client, team: str, store: Store
) -> None:
    record_job(store, GOOD, model="good", team=team)
    record_job(store, BAD, model="bad", team=team)
    board = found(client, "/v2/leaderboards/set")
    assert [one["name"] for one in board["standings"]] == ["good", "bad"]
    first = board["standings"][0]
    assert (first["places"], first["mean"], first["runs"], first["graded"]) == ([1, 1], 1.0, 16, 16)
    assert (first["coverage"], first["lower_bound"], first["upper_bound"]) == (1.0, 1.0, 1.0)
    assert first["pass_at_k"] == {"1": 1.0, "2": 1.0}
    assert first["cost_per_run_usd"] == 0.5
    assert [one["slug"] for one in board["tasks"]] == list(GOOD)
    assert board["taskset_id"] is None
    wide = found(client, "/v2/leaderboards/set", k=[2], by="model")
    assert set(wide["standings"][0]["best_at_k"]) == {"2"}


def test_a_run_without_a_grade_is_no_zero(client: httpx.Client, team: str, store: Store) -> None:
    rewards = {"a": [1.0, Outcome.MODEL], "b": [1.0, Outcome.ENVIRONMENT]}
    job = record_job(store, rewards, cost_usd=None, team=team)
    card = found(client, f"/v2/jobs/{job}/scorecard")
    figures = card["statistics"]
    assert (figures["mean"], figures["coverage"]) == (1.0, 0.5)
    assert (figures["lower_bound"], figures["upper_bound"]) == (0.5, 1.0)
    assert figures["ungraded"] == {"model": 1, "environment": 1}
    assert figures["pass_at_k"] == {"1": 1.0, "2": None}
    assert {one["cause"] for one in card["faults"]} == {"model", "environment"}
    assert card["used"]["cost_usd"] is None
    assert card["used"]["prompt_tokens"] == 4 * 80
    [row] = found(client, "/v2/leaderboards/set")["standings"]
    assert (row["mean"], row["cost_per_run_usd"]) == (1.0, None)


def test_a_job_in_which_nothing_is_graded_has_no_mean(
    client: httpx.Client, team: str, store: Store
) -> None:
    job = record_job(store, {"a": [Outcome.RUNTIME]}, team=team)
    card = found(client, f"/v2/jobs/{job}/scorecard")
    for name in ("mean", "standard_error", "interval_95", "success_rate"):
        assert card["statistics"][name] is None
    assert card["tasks"] == [
        {"slug": "a", "runs": 1, "graded": 0, "mean": None, "pass_at_k": {"1": None}}
    ]
    [row] = found(client, "/v2/leaderboards/set")["standings"]
    assert (row["mean"], row["places"]) == (None, None)


def test_a_run_marked_invalid_counts_nowhere_and_its_reason_is_told(
    client: httpx.Client, team: str, store: Store
) -> None:
    job = record_job(store, {"a": [1.0], "b": [0.0]}, team=team)
    [bad] = [run for run in every_run(store, job, team=team) if run.reward == 0.0]
    store.mark_invalid(bad.id, "the server was down", actor="me", team=team)
    card = found(client, f"/v2/jobs/{job}/scorecard")
    assert card["invalid"] == {"the server was down": 1}
    assert card["statistics"]["mean"] == 1.0
    [row] = found(client, "/v2/leaderboards/set")["standings"]
    assert row["invalid"] == {"the server was down": 1}


def test_jobs_are_compared_by_id_and_models_on_a_taskset(
    client: httpx.Client, team: str, store: Store
) -> None:
    good = record_job(store, GOOD, model="good", team=team)
    bad = record_job(store, BAD, model="bad", team=team)
    [one] = found(client, "/v2/compare", job=[good, bad])["comparisons"]
    assert (one["better"], one["difference"], one["tasks_compared"]) == ("good", 1.0, 8)
    assert one["p_value"] == pytest.approx(2 / 2**8)
    assert one["test"]["is_exact"] is True
    assert one["task_count"] == len(one["tasks"]) == 8
    assert one["first"]["jobs"] == [good]
    [again] = found(client, "/v2/compare", taskset="set", by="model", limit=3)["comparisons"]
    assert (again["task_count"], len(again["tasks"])) == (8, 3)
    named = found(client, "/v2/compare", taskset="set", side=["bad", "good"])["comparisons"]
    assert named[0]["difference"] == -1.0


def test_the_table_of_a_comparison_begins_with_what_differs_most(
    client: httpx.Client, team: str, store: Store
) -> None:
    first = record_job(store, {"a": [0.5], "b": [0.0], "c": [1.0], "d": [Outcome.MODEL]}, team=team)
    second = record_job(store, {"a": [0.5], "b": [1.0], "c": [0.7], "d": [1.0]}, team=team)
    [one] = found(client, "/v2/compare", job=[first, second])["comparisons"]
    assert [task["slug"] for task in one["tasks"]] == ["b", "c", "a", "d"]
    assert one["tasks"][3]["state"] == "ungraded"
    assert one["tasks"][3]["difference"] is None
    assert one["better"] is None


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({}, 400),
        ({"job": ["ffffffffffffffffffffffffffffffff"] * 2}, 404),
        ({"taskset": "nobody ran this"}, 404),
        ({"taskset": "set", "job": ["00000000000000000000000000000000"]}, 400),
        ({"taskset": "set", "side": ["m1", "other"]}, 400),
        ({"taskset": "set", "side": ["m1", "m1"]}, 400),
        ({"taskset": "set", "side": ["m1"]}, 400),
        ({"job": ["a" * 32] * 7}, 422),
    ],
)
def test_what_cannot_be_compared_is_refused(
    client: httpx.Client, team: str, store: Store, params: dict[str, Any], status: int
) -> None:
    record_job(store, GOOD, team=team)
    reply = client.get("/v2/compare", params=params)
    assert reply.status_code == status, reply.text
    assert isinstance(reply.json()["detail"], str)


def test_a_job_is_published_once_and_unpublished(
    client: httpx.Client, team: str, store: Store
) -> None:
    good = record_job(store, GOOD, taskset="a/b ü", model="good", team=team)
    record_job(store, BAD, taskset="a/b ü", model="bad", team=team)
    where = "/v2/tasksets/a%2Fb%20%C3%BC/publications"
    made = client.post(where, json={"job_id": good[:12], "title": "Ours"})
    assert (made.status_code, made.json()["title"]) == (201, "Ours")
    again = client.post(where, json={"job_id": good, "title": "Ours again"})
    assert (again.status_code, again.json()["id"]) == (200, made.json()["id"])
    listed = found(client, where)
    assert [(one["job_id"], one["title"]) for one in listed["items"]] == [(good, "Ours again")]
    board = found(client, "/v2/leaderboards/a%2Fb%20%C3%BC", published=True)
    assert [one["jobs"] for one in board["standings"]] == [[good]]
    assert len(found(client, "/v2/leaderboards/a%2Fb%20%C3%BC")["standings"]) == 2
    assert client.delete(where, params={"job_id": good}).status_code == 200
    assert client.delete(where, params={"job_id": good}).status_code == 404
    assert found(client, "/v2/leaderboards/a%2Fb%20%C3%BC", published=True)["standings"] == []
    actions = [one["action"] for one in found(client, "/v2/audit")["items"]]
    assert actions == ["job.unpublish", "job.publish", "job.publish"]


def test_a_leaderboard_goes_by_the_id_of_its_taskset_too(
    client: httpx.Client, team: str, store: Store
) -> None:
    taskset = client.post("/v2/tasksets", json={"name": "set"}).json()["id"]
    assert found(client, f"/v2/leaderboards/{taskset}")["standings"] == []
    job = record_job(store, GOOD, team=team)
    board = found(client, f"/v2/leaderboards/{taskset}")
    assert (board["taskset"], board["taskset_id"]) == ("set", taskset)
    assert len(board["standings"]) == 1
    plain = taskset.replace("-", "")
    made = client.post(f"/v2/tasksets/{plain}/publications", json={"job_id": job})
    assert made.json()["taskset"] == "set"


def test_only_a_job_of_the_taskset_is_published_on_it(
    client: httpx.Client, team: str, store: Store
) -> None:
    job = record_job(store, GOOD, taskset="other", team=team)
    reply = client.post("/v2/tasksets/set/publications", json={"job_id": job})
    assert reply.status_code == 400
    assert "ran taskset 'other', not 'set'" in reply.json()["detail"]


def test_nothing_of_another_team_is_compared_ranked_or_published(
    server: Server, store: Store, open_client: Callable[[str | None], httpx.Client]
) -> None:
    theirs = record_job(store, GOOD, taskset="secret", team="owners")
    stranger = open_client(server.key(team="strangers"))
    for path in (f"/v2/jobs/{theirs}/scorecard", "/v2/leaderboards/secret"):
        assert stranger.get(path).status_code == 404
    assert stranger.get("/v2/compare", params={"job": [theirs, theirs]}).status_code == 404
    reply = stranger.post("/v2/tasksets/secret/publications", json={"job_id": theirs})
    assert reply.status_code == 404
