"""Tasksets over the API: what is uploaded is kept in versions, and given back as it was."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from hud.environment.task import default_slug

DATABASES = ("sqlite", "postgres")


def item(name: str, *, env: str = "shop", task_id: str = "buy", **more: Any) -> dict[str, Any]:
    """Return a task as a client uploads it."""
    return {"name": name, "env": {"name": env}, "task_id": task_id, "args": {}, **more}


def upload(client: httpx.Client, tasks: list[Any], name: str = "set", **more: Any) -> Any:
    """Upload tasks and return the reply."""
    reply = client.post("/v2/tasks/upload", json={"taskset_name": name, "tasks": tasks, **more})
    assert reply.status_code == 200, reply.text
    return reply.json()


def refused(client: httpx.Client, tasks: Any, **more: Any) -> str:
    """Return why an upload is refused."""
    body = {"taskset_name": "set", "tasks": tasks, **more}
    reply = client.post("/v2/tasks/upload", content=json.dumps(body).encode())
    assert reply.status_code == 400, reply.text
    detail = reply.json()["detail"]
    assert isinstance(detail, str)
    return detail


def export(client: httpx.Client, taskset_id: str) -> Any:
    reply = client.get(f"/v2/tasksets/{taskset_id}/export")
    assert reply.status_code == 200, reply.text
    return json.loads(reply.content)


def test_an_export_gives_back_what_was_uploaded(client: httpx.Client) -> None:
    rich = item(
        "rich",
        args={"n": 1, "x": 1.0, "none": None, "big": 2**70, "text": "ü\u2028 \u0000", "deep": [{}]},
        validation=[{"name": "shell", "arguments": {"cmd": None}}],
        agent_config={"system_prompt": "be brief"},
        columns={"level": "hard", "n": 3},
        runtime_config={"resources": {"cpu": 2.0, "gpu": None}, "limits": None},
        verifier={"env": "judge", "id": "check", "args": {"a": None}, "slug": "v"},
    )
    bare = item("bare")
    done = upload(client, [rich, bare])
    assert (done["tasks_created"], done["tasks_updated"], done["tasks_unchanged"]) == (2, 0, 0)
    found = export(client, done["taskset_id"])
    assert found["name"] == "set"
    assert found["tasks"][1] == {"env": "shop", "scenario": "buy", "name": "bare", "args": {}}
    expected = {"env": "shop", "scenario": "buy", "name": "rich"} | {
        key: value for key, value in rich.items() if key not in ("env", "task_id", "name")
    }
    assert found["tasks"][0] == expected
    assert json.dumps(found["tasks"][0]["args"]) == json.dumps(rich["args"])
    assert found["tasks"][0]["runtime_config"] == {
        "resources": {"cpu": 2.0, "gpu": None},
        "limits": None,
    }
    assert isinstance(found["tasks"][0]["runtime_config"]["resources"]["cpu"], float)


def test_what_a_later_client_adds_to_a_row_comes_back(client: httpx.Client) -> None:
    done = upload(client, [item("a", something_new={"x": [1]}, nothing=None)])
    [record] = export(client, done["taskset_id"])["tasks"]
    assert record["something_new"] == {"x": [1]}
    assert "nothing" not in record


def test_the_same_upload_again_changes_nothing(client: httpx.Client) -> None:
    tasks = [item(f"t{n}", args={"n": n, "f": n / 7}) for n in range(3)]
    first = upload(client, tasks)
    before = client.get(f"/v2/tasksets/{first['taskset_id']}").json()
    # The order of keys says nothing.
    again = upload(client, [dict(reversed(task.items())) for task in tasks])
    assert (again["tasks_created"], again["tasks_updated"], again["tasks_unchanged"]) == (0, 0, 3)
    assert client.get(f"/v2/tasksets/{first['taskset_id']}").json() == before
    versions = client.get(
        f"/v2/tasksets/{first['taskset_id']}/task/versions", params={"slug": "t1"}
    ).json()
    assert [one["version"] for one in versions["items"]] == [1]


def test_a_changed_task_is_a_new_version_and_the_old_one_stays(client: httpx.Client) -> None:
    runtime = {"resources": {"cpu": 1.0}}
    first = upload(client, [item("a", args={"n": 1}, runtime_config=runtime), item("b")])
    done = upload(
        client,
        [item("a", args={"n": 2, "m": None}, runtime_config={"resources": {"cpu": 2.0}})],
        taskset_id=first["taskset_id"],
    )
    assert (done["tasks_created"], done["tasks_updated"], done["tasks_unchanged"]) == (0, 1, 0)
    where = f"/v2/tasksets/{first['taskset_id']}/task"
    page = client.get(f"{where}/versions", params={"slug": "a"}).json()
    assert page["total"] == 2
    assert [one["version"] for one in page["items"]] == [2, 1]
    assert page["items"][0]["changed"] == ["args.n", "args.m", "runtime_config.resources.cpu"]
    old = client.get(where, params={"slug": "a", "version": 1}).json()
    assert old["record"]["args"] == {"n": 1}
    now = client.get(where, params={"slug": "a"}).json()
    assert (now["version"], now["record"]["args"]) == (2, {"n": 2, "m": None})
    assert [task["name"] for task in export(client, first["taskset_id"])["tasks"]] == ["a", "b"]
    one = client.get(f"{where}/versions", params={"slug": "a", "limit": 1}).json()
    rest = client.get(
        f"{where}/versions", params={"slug": "a", "limit": 1, "cursor": one["next_cursor"]}
    ).json()
    assert one["items"][0]["changed"] == page["items"][0]["changed"]
    assert ([v["version"] for v in rest["items"]], rest["next_cursor"]) == ([1], None)


def test_whole_and_broken_numbers_are_different_values(client: httpx.Client) -> None:
    upload(client, [item("a", args={"n": 1})])
    assert upload(client, [item("a", args={"n": 1.0})])["tasks_updated"] == 1


def test_a_slug_that_is_not_given_is_made_as_clients_make_it(client: httpx.Client) -> None:
    args = {"b": 1, "a": [2]}
    row = {"env": "shop", "task_id": "buy", "args": args}
    done = upload(client, [row, {"env": "shop", "task_id": "look"}])
    names = [task["name"] for task in export(client, done["taskset_id"])["tasks"]]
    assert names == [default_slug("buy", args), "look"]


@pytest.mark.parametrize(
    "name", ["a/b", "a b", "ü–名", "100%", "a/../b", "a?b#c", "x" * 200, "%2e%2e%2f", "a//b/"]
)
def test_a_taskset_is_found_by_its_name_whatever_it_holds(client: httpx.Client, name: str) -> None:
    done = upload(client, [item("a")], name=name)
    found = client.get(f"/v2/tasksets/by-name/{quote(name, safe='')}")
    assert found.json() == {"taskset_id": done["taskset_id"], "name": name}


def test_ids_are_taken_dashed_and_plain_and_given_dashed(client: httpx.Client) -> None:
    dashed = upload(client, [item("a")])["taskset_id"]
    assert str(uuid.UUID(dashed)) == dashed
    for spelled in (dashed, dashed.replace("-", ""), dashed.upper()):
        assert client.get(f"/v2/tasksets/{spelled}").json()["id"] == dashed
        assert len(export(client, spelled)["tasks"]) == 1
        again = client.post("/v2/tasks/upload", json={"taskset_id": spelled, "tasks": [item("a")]})
        assert again.json()["tasks_unchanged"] == 1


FAULTS: list[tuple[Any, str]] = [
    ([item("a"), item("a")], "two tasks have the slug 'a'"),
    ([{**item("a"), "args": [1]}], "task 1: args is no object but [1]"),
    ([{**item("a"), "env": {}}], "task 1: env is missing"),
    ([{**item("a"), "env": 7}], "task 1: env is no text"),
    ([{**item("a"), "task_id": ""}], "task 1: task_id is missing"),
    ([{**item("a"), "slug": "b"}], "name and slug are the same thing, but differ here"),
    ([item("a", columns=[1])], "task 'a': columns is no object but [1]"),
    ([item("a", validation={})], "task 'a': validation is no list but {}"),
    ([item("a\nb")], "cannot be shown"),
    ([item("a\x00b")], "cannot be shown"),
    ([item("x" * 501)], "is too long"),
    (["a"], "task 1 is no object but a"),
    ({"a": 1}, "the upload has no list of tasks"),
    (None, "the upload has no list of tasks"),
]


@pytest.mark.parametrize(("tasks", "said"), FAULTS)
def test_an_upload_that_makes_no_sense_is_refused_in_a_sentence(
    client: httpx.Client, tasks: Any, said: str
) -> None:
    assert said in refused(client, tasks)
    assert client.get("/v2/tasksets").json()["total"] == 0


def test_every_fault_of_an_upload_has_its_line_and_nothing_of_it_is_kept(
    client: httpx.Client,
) -> None:
    bad = [{**item(f"t{n}"), "args": n} for n in range(30)]
    lines = refused(client, [item("good"), *bad]).splitlines()
    assert lines[0] == "task 2: args is no object but 0"
    assert len(lines) == 21
    assert lines[-1] == "and 10 more like these"
    assert client.get("/v2/tasksets").json()["total"] == 0


@pytest.mark.parametrize("depth", [70, 5_000, 200_000])
def test_what_is_nested_too_deep_is_refused(client: httpx.Client, depth: int) -> None:
    inner = "[" * depth + "]" * depth
    body = (
        '{"taskset_name":"set","tasks":[{"name":"a","env":"e","task_id":"t","args":{"x":'
        f"{inner}}}}}]}}"
    )
    reply = client.post("/v2/tasks/upload", content=body.encode())
    assert reply.status_code == 400
    assert "deep" in reply.json()["detail"] or "recursion" in reply.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"tasks":[NaN]}', b"1e999"])
def test_what_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    assert client.post("/v2/tasks/upload", content=body).status_code == 400


@pytest.mark.parametrize(
    "name",
    ["", " ", "..", "a\nb", "x" * 201, str(uuid.UUID(int=7 << 64)), uuid.UUID(int=9 << 64).hex],
)
def test_a_name_that_cannot_be_one_is_refused(client: httpx.Client, name: str) -> None:
    reply = client.post("/v2/tasks/upload", json={"taskset_name": name, "tasks": [item("a")]})
    assert reply.status_code == 400
    assert client.post("/v2/tasksets", json={"name": name}).status_code in (400, 422)


def test_an_unknown_taskset_or_project_is_not_made_up(client: httpx.Client) -> None:
    nobody = str(uuid.uuid4())
    for more in ({"taskset_id": nobody}, {"taskset_name": "set", "project_id": nobody}):
        reply = client.post("/v2/tasks/upload", json={"tasks": [item("a")], **more})
        assert reply.status_code == 404
        assert nobody in reply.json()["detail"]
    for odd in ("no id", "\x00", "../../etc"):
        reply = client.post("/v2/tasks/upload", json={"tasks": [item("a")], "taskset_id": odd})
        assert reply.status_code == 404
    assert client.get("/v2/tasksets").json()["total"] == 0


def test_tasks_are_listed_in_order_in_pages_with_filters(client: httpx.Client) -> None:
    tasks = [
        item(f"t{n:02}", task_id=("buy", "look")[n % 2], columns={"level": n % 3, "Ü": f"x{n}"})
        for n in range(10)
    ]
    where = f"/v2/tasksets/{upload(client, tasks)['taskset_id']}/tasks"
    seen: list[str] = []
    cursor = None
    while True:
        page = client.get(where, params={"limit": 4, **({"cursor": cursor} if cursor else {})})
        seen += [task["slug"] for task in page.json()["items"]]
        assert page.json()["total"] == 10
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"t{n:02}" for n in range(10)]

    def slugs(**params: Any) -> list[str]:
        found = client.get(where, params=params).json()
        assert found["total"] == len(found["items"])
        return [task["slug"] for task in found["items"]]

    assert slugs(task_id="look") == ["t01", "t03", "t05", "t07", "t09"]
    assert slugs(search="T0", env="shop", column="level:0") == ["t00", "t03", "t06", "t09"]
    assert slugs(column=["level:0", "Ü:x6"]) == ["t06"]
    assert slugs(env="other") == []
    assert slugs(search="%") == []
    assert client.get(where, params={"column": "level"}).status_code == 400
    assert client.get(where, params={"cursor": "x"}).status_code == 400
    facets = client.get(where, params={"facets": True, "limit": 1}).json()["facets"]
    assert facets["env"] == [{"value": "shop", "count": 10}]
    assert facets["task_id"] == [{"value": "buy", "count": 5}, {"value": "look", "count": 5}]
    assert facets["columns"]["level"][0] == {"value": "0", "count": 4}
    assert facets["is_complete"] is True


def test_tasksets_are_listed_the_latest_changed_first(client: httpx.Client) -> None:
    for name in ("one", "two", "three"):
        upload(client, [item("a")], name=name)
    upload(client, [item("b")], name="one")
    first = client.get("/v2/tasksets", params={"limit": 2}).json()
    assert [one["name"] for one in first["items"]] == ["one", "three"]
    assert (first["total"], first["items"][0]["task_count"]) == (3, 2)
    second = client.get("/v2/tasksets", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [one["name"] for one in second["items"]] == ["two"]
    assert second["next_cursor"] is None
    found = client.get("/v2/tasksets", params={"search": "T"}).json()
    assert {one["name"] for one in found["items"]} == {"two", "three"}


def test_tasks_that_are_put_away_come_back_with_their_versions(client: httpx.Client) -> None:
    taskset = upload(client, [item("a", args={"n": 1}), item("b"), item("c")])["taskset_id"]
    gone = client.delete(f"/v2/tasksets/{taskset}/tasks", params={"slug": ["a", "c", "x"]})
    assert sorted(gone.json()["slugs"]) == ["a", "c"]
    assert [task["name"] for task in export(client, taskset)["tasks"]] == ["b"]
    where = f"/v2/tasksets/{taskset}/task"
    assert client.get(where, params={"slug": "a"}).status_code == 404
    assert client.get(where, params={"slug": "a", "version": 1}).json()["version"] == 1
    done = upload(client, [item("c"), item("a", args={"n": 2})])
    assert (done["tasks_created"], done["tasks_updated"]) == (2, 0)
    assert [task["name"] for task in export(client, taskset)["tasks"]] == ["b", "c", "a"]
    assert client.get(where, params={"slug": "c"}).json()["version"] == 1
    assert client.get(where, params={"slug": "a"}).json()["version"] == 2


def test_a_taskset_that_is_put_away_frees_its_name(client: httpx.Client) -> None:
    old = upload(client, [item("a")])["taskset_id"]
    assert client.delete(f"/v2/tasksets/{old}").json()["name"] == "set"
    for path in (f"/v2/tasksets/{old}", f"/v2/tasksets/{old}/export", "/v2/tasksets/by-name/set"):
        assert client.get(path).status_code == 404
    assert client.delete(f"/v2/tasksets/{old}").status_code == 404
    assert upload(client, [item("b")])["taskset_id"] != old
    actions = [entry["action"] for entry in client.get("/v2/audit").json()["items"]]
    assert actions == ["taskset.upload", "taskset.archive", "taskset.upload"]


def test_a_taskset_is_made_empty_in_a_project(client: httpx.Client) -> None:
    project = client.post("/v2/projects", json={"name": "P"}).json()["id"]
    made = client.post("/v2/tasksets", json={"name": "empty", "project_id": project})
    assert made.status_code == 201
    assert made.json()["project_id"] == project
    assert made.json()["can_edit"] is True
    assert export(client, made.json()["id"])["tasks"] == []
    assert client.post("/v2/tasksets", json={"name": "empty"}).status_code == 409
    inside = client.get("/v2/tasksets", params={"project_id": project}).json()
    assert [one["name"] for one in inside["items"]] == ["empty"]
    named = client.post(
        "/v2/tasks/upload",
        json={"taskset_name": "new", "project_id": project, "tasks": [item("a")]},
    ).json()
    record = client.get(f"/v2/tasksets/{named['taskset_id']}").json()
    assert record["project_id"] == project


def test_an_export_is_what_the_taskset_held_when_it_began(client: httpx.Client) -> None:
    big = "x" * 300_000
    done = upload(client, [item(f"t{n}", args={"big": big, "v": 1}) for n in range(30)])
    with client.stream("GET", f"/v2/tasksets/{done['taskset_id']}/export") as reply:
        parts = reply.iter_raw()
        seen = next(parts)
        upload(client, [item(f"t{n}", args={"big": big, "v": 2}) for n in range(30)])
        seen += b"".join(parts)
    assert {task["args"]["v"] for task in json.loads(seen)["tasks"]} == {1}


def test_uploads_at_the_same_time_make_one_taskset_and_count_its_versions_up(
    client: httpx.Client,
) -> None:
    def one(number: int) -> Any:
        tasks = [item(f"t{n}", args={"by": number}) for n in range(20)]
        return upload(client, tasks, name="raced")

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(one, range(8)))
    [taskset] = {reply["taskset_id"] for reply in done}
    assert sum(reply["tasks_created"] for reply in done) == 20
    assert sum(reply["tasks_updated"] for reply in done) == 7 * 20
    assert len({task["args"]["by"] for task in export(client, taskset)["tasks"]}) == 1
    versions = client.get(f"/v2/tasksets/{taskset}/task/versions", params={"slug": "t3"}).json()
    assert [one["version"] for one in versions["items"]] == list(range(8, 0, -1))
    assert client.get("/v2/projects").json()["total"] == 1
