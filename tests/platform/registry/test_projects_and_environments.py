"""Projects, environments, and what is told about what a platform does not do yet."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import httpx
import pytest

from tests.platform.registry.known import know, team_of
from tests.platform.server import Server

DATABASES = ("sqlite", "postgres")


def test_every_team_has_a_default_project_from_the_first_look_on(client: httpx.Client) -> None:
    page = client.get("/v2/projects").json()
    assert page["total"] == 1
    [project] = page["items"]
    assert (project["name"], project["is_default"]) == ("default", True)
    assert project["capabilities"] == {"create": True}
    assert str(uuid.UUID(project["id"])) == project["id"]
    assert client.get("/v2/projects").json() == page
    assert client.get(f"/v2/projects/{project['id'].replace('-', '')}").json() == project


def test_a_project_is_called_by_its_slug(client: httpx.Client) -> None:
    made = client.post("/v2/projects", json={"name": "My  Project_2!", "description": "d"})
    assert made.status_code == 201
    assert (made.json()["name"], made.json()["description"]) == ("my-project-2", "d")
    assert client.post("/v2/projects", json={"name": "my project 2"}).status_code == 409
    assert client.post("/v2/projects", json={"name": "default"}).status_code == 409
    for name in ("!!", "名"):
        assert client.post("/v2/projects", json={"name": name}).status_code == 400
    found = client.get("/v2/projects", params={"search": "project"}).json()
    assert [one["name"] for one in found["items"]] == ["my-project-2"]


def test_projects_are_listed_in_pages_the_default_one_first(client: httpx.Client) -> None:
    for name in ("b", "a"):
        client.post("/v2/projects", json={"name": name})
    names: list[str] = []
    for offset in range(3):
        page = client.get("/v2/projects", params={"limit": 1, "offset": offset}).json()
        assert page["total"] == 3
        names += [one["name"] for one in page["items"]]
    assert names == ["default", "a", "b"]


def test_a_reader_may_not_create(
    server: Server, open_client: Callable[[str | None], httpx.Client]
) -> None:
    reader = open_client(server.key(team="readers", scopes=["read"]))
    [project] = reader.get("/v2/projects").json()["items"]
    assert project["capabilities"] == {"create": False}
    assert reader.post("/v2/projects", json={"name": "x"}).status_code == 403


def test_environments_are_read_by_name_and_by_date(server: Server, client: httpx.Client) -> None:
    team = team_of(server, client)
    first, second = (know(server, team, name, [], version=3) for name in ("beta", "alpha"))
    page = client.get("/v2/registry").json()
    assert [one["name"] for one in page["items"]] == ["alpha", "beta"]
    newest = client.get("/v2/registry", params={"sort_by": "date", "limit": 1}).json()
    assert (newest["items"][0]["name"], newest["total"]) == ("alpha", 2)
    found = client.get("/v2/registry", params={"search": "BET", "limit": 5}).json()
    assert [one["name"] for one in found["items"]] == ["beta"]
    one = client.get(f"/v2/registry/{first}").json()
    assert one["id"] == str(uuid.UUID(first))
    assert one["latest_build"]["version"] == 3
    assert client.get(f"/v2/registry/{uuid.UUID(second)}").json()["name"] == "alpha"
    assert client.get(f"/v2/registry/{uuid.uuid4()}").status_code == 404


@pytest.mark.parametrize("path", ["/v2/qa/runs"])
def test_what_is_not_here_yet_is_said_in_a_sentence(client: httpx.Client, path: str) -> None:
    reply = client.post(path, json={"name": "x"})
    assert reply.status_code == 501
    assert "platform" in reply.json()["detail"]
    assert reply.json()["code"] == "not_available"


def test_there_are_no_checks_and_no_imports(client: httpx.Client) -> None:
    assert client.get("/v2/qa-agents").json() == {"items": [], "total": 0}
    assert client.get("/v2/qa/checks").json() == {"checks": []}
    assert client.get("/v2/qa/results", params={"trace_ids": "x"}).json() == {"results": []}
    assert client.get("/v2/qa-agents/results/resources").json() == []
    assert client.post("/v2/qa-agents/x/run", json={}).status_code == 501
    assert client.get("/v2/imports/formats").status_code == 404
