"""A context becomes a version of an environment, and its log is told to the end."""

from __future__ import annotations

import contextlib
import http.client
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.platform.builds.building import (
    built,
    following,
    frames,
    key_of,
    packed,
    put,
    source,
    triggered,
    uploaded,
)
from tests.platform.server import DEADLINE_S, Server

DATABASES = ("sqlite", "postgres")


def test_a_context_becomes_a_version_with_its_tasks(server: Server, client: httpx.Client) -> None:
    done = built(server, client, source("My Env"), "My Env")
    assert (done["status"], done["version"], done["registry_name"]) == ("SUCCEEDED", 1, "my-env")
    assert done["uri"].startswith("bundle:")
    tasks = done["manifest"]["tasks"]
    assert [task["id"] for task in tasks] == ["add"]
    assert [task["args"]["required"] for task in tasks] == [["a"]]
    assert [each["slug"] for each in done["lock"]["tasks"]] == ["add"]
    assert done["last"] == {
        "type": "complete",
        "final_status": "SUCCEEDED",
        "message": "version 1 of the environment",
    }
    entry = client.get(f"/v2/registry/{done['registry_id']}").json()
    assert entry["latest_build"]["version"] == 1
    [project] = client.get("/v2/projects").json()["items"]
    assert entry["project_id"] == project["id"]


def test_the_same_name_again_is_the_next_version_and_rolling_back_is_possible(
    server: Server, client: httpx.Client
) -> None:
    first = built(server, client, source())
    second = built(server, client, source(after="EXTRA = 1"))
    assert second["registry_id"] == first["registry_id"]
    assert second["version"] == 2
    assert second["uri"] != first["uri"]
    place = f"/v2/registry/{first['registry_id']}"
    back = client.post(f"{place}/rollback", json={"version": 1})
    assert back.status_code == 200, back.text
    assert (back.json()["version"], back.json()["before"]) == (1, 2)
    assert client.get(place).json()["latest_build"]["version"] == 1
    assert client.post(f"{place}/rollback", json={"version": 9}).status_code == 404
    third = built(server, client, source(after="EXTRA = 2"))
    assert third["version"] == 3
    page = client.get(f"{place}/builds").json()
    assert [one["version"] for one in page["items"]] == [3, 2, 1]
    assert page["total"] == 3


def test_tasks_are_checked_against_the_version_that_is_run(
    server: Server, client: httpx.Client
) -> None:
    built(server, client, source())
    task: dict[str, Any] = {"name": "t", "env": "my-env", "task_id": "subtract", "args": {}}
    reply = client.post("/v2/tasks/upload", json={"taskset_name": "t", "tasks": [task]})
    assert reply.status_code == 400
    assert "has no task 'subtract'" in reply.json()["detail"]


def test_the_log_has_whole_milliseconds_and_is_told_again_after_the_end(
    server: Server, client: httpx.Client
) -> None:
    done = built(server, client, source(before="print('loading', flush=True)"))
    lines = [frame for frame in done["frames"] if frame["type"] == "log"]
    assert all(isinstance(frame["timestamp"], int) for frame in lines)
    assert any("loading" in frame["message"] for frame in lines)
    again = frames(server, key_of(client), done["id"])
    assert [frame for frame in again if frame["type"] == "log"] == lines
    assert again[-1] == done["last"]
    read = client.get(f"/v2/builds/{done['id']}/log", params={"limit": 1}).json()
    assert read["lines"][0]["text"] == lines[0]["message"]
    assert read["next_after"] == 0


def test_code_that_does_not_load_fails_with_a_sentence_and_changes_nothing(
    server: Server, client: httpx.Client
) -> None:
    first = built(server, client, source())
    failed = built(server, client, source(before="raise ValueError('broken on purpose')"))
    assert failed["status"] == "FAILED"
    assert failed["last"]["type"] == "error"
    assert "broken on purpose" in failed["error_message"]
    assert failed["version"] is None
    entry = client.get(f"/v2/registry/{first['registry_id']}").json()
    assert entry["latest_build"]["version"] == 1


def test_an_upload_is_open_once_and_to_nobody_else(server: Server, client: httpx.Client) -> None:
    begun = client.post("/v2/builds/upload-url").json()
    url = begun["upload_url"]
    wrong = url[:-4] + "xxxx"
    assert put(wrong, packed(source())).status_code == 404
    early = client.post(
        "/v2/builds/trigger", json={"build_id": begun["build_id"], "name": "my-env"}
    )
    assert early.status_code == 409
    assert put(url, packed(source())).status_code == 200
    assert put(url, packed(source())).status_code == 404
    other = client.post("/v2/builds/upload-url").json()["build_id"]
    assert put(url.replace(begun["build_id"], other), b"x").status_code == 404


def test_a_context_that_is_too_long_is_refused_and_not_kept(
    server: Server, client: httpx.Client
) -> None:
    url = client.post("/v2/builds/upload-url").json()["upload_url"]
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.putrequest("PUT", url[url.index("/v2/") :])
        connection.putheader("Content-Length", str(10**12))
        connection.endheaders()
        assert connection.getresponse().status == 413
    assert put(url, packed(source())).status_code == 200


def test_triggering_twice_builds_once(server: Server, client: httpx.Client) -> None:
    build_id = uploaded(client, packed(source()))
    first, second = (triggered(client, build_id) for _ in range(2))
    assert first["registry_id"] == second["registry_id"]
    frames(server, key_of(client), build_id)
    assert client.get(f"/v2/registry/{first['registry_id']}/builds").json()["total"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "!!"}, 400),
        ({"runtime_provider": "modal"}, 400),
        ({"runtime_config": {"nonsense": 1}}, 400),
        ({"environment_variables": {"a b": "c"}}, 400),
        ({"registry_id": str(uuid.uuid4())}, 404),
        ({"project_id": str(uuid.uuid4())}, 404),
        ({"build_id": str(uuid.uuid4())}, 404),
    ],
)
def test_what_cannot_be_built_is_refused_and_the_context_stays(
    client: httpx.Client, body: dict[str, Any], status: int
) -> None:
    build_id = uploaded(client, packed(source()))
    whole = {"build_id": build_id, "name": "my-env", **body}
    reply = client.post("/v2/builds/trigger", json=whole)
    assert reply.status_code == status, reply.text
    assert client.get("/v2/registry").json()["total"] == 0
    triggered(client, build_id)


def test_an_environment_named_otherwise_than_its_code_is_refused(
    server: Server, client: httpx.Client
) -> None:
    done = built(server, client, source("one"), "two")
    assert done["status"] == "FAILED"
    assert "two" in done["error_message"]


def test_a_build_is_stopped_while_it_runs_and_nothing_of_it_is_left(
    server: Server, client: httpx.Client
) -> None:
    before = "import time; print('asleep', flush=True); time.sleep(600)"
    build = triggered(client, uploaded(client, packed(source(before=before))))
    heard = following(server, key_of(client), build["id"])
    for frame in heard:
        if frame["type"] == "log" and "asleep" in frame["message"]:
            assert client.post(f"/v2/builds/{build['id']}/cancel").status_code == 200
            break
    *_, last = heard
    assert last == {"type": "complete", "final_status": "STOPPED", "message": "it was cancelled"}
    assert client.post(f"/v2/builds/{build['id']}/cancel").json()["status"] == "STOPPED"
    assert not list((server.home / "builds").glob(f"*{build['id'].replace('-', '')}*"))


def test_a_key_that_may_not_read_a_log_is_told_so_by_its_close_code(
    server: Server, client: httpx.Client, open_client: Callable[[str | None], httpx.Client]
) -> None:
    done = built(server, client, source())
    stranger = server.key(team="strangers-to-builds")
    for key in (stranger, "hud_wrong", ""):
        assert frames(server, key, done["id"]) == [{"type": "closed", "code": 4003}]
    other = open_client(stranger)
    for path in ("", "/status", "/log"):
        assert other.get(f"/v2/builds/{done['id']}{path}").status_code == 404
    assert other.post(f"/v2/builds/{done['id']}/cancel").status_code == 404
