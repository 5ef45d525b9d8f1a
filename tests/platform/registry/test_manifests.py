"""Tasks of an environment that is known here have to be ones that it offers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.platform.registry.known import know, team_of
from tests.platform.server import Server

DATABASES = ("sqlite", "postgres")

ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}},
    "required": ["a"],
    "additionalProperties": False,
}


def upload(client: httpx.Client, *tasks: dict[str, Any]) -> httpx.Response:
    rows = [{"env": {"name": "my-env"}, "name": f"t{n}", **task} for n, task in enumerate(tasks)]
    body = {"taskset_name": "set", "tasks": rows}
    return client.post("/v2/tasks/upload", content=json.dumps(body).encode())


def test_a_task_that_the_environment_lacks_is_refused(server: Server, client: httpx.Client) -> None:
    tasks = [{"id": "add", "args": ADD}, {"id": "free"}]
    know(server, team_of(server, client), "my-env", tasks, version=7)
    reply = upload(
        client,
        {"task_id": "add", "args": {"a": 1}},
        {"task_id": "sub", "args": {}},
        {"task_id": "add", "args": {}},
        {"task_id": "add", "args": {"a": 1, "c": 2}},
        {"task_id": "add", "args": {"a": "one"}},
        {"task_id": "free", "args": {"whatever": [1]}},
    )
    assert reply.status_code == 400
    lines = reply.json()["detail"].splitlines()
    assert lines == [
        "task 't1': environment 'my-env' (version 7) has no task 'sub'; it has: add, free",
        "task 't2': my-env:add: args: 'a' is a required property",
        "task 't3': my-env:add: args: Additional properties are not allowed ('c' was unexpected)",
        "task 't4': my-env:add: args.a: 'one' is not of type 'integer'",
    ]
    assert client.get("/v2/tasksets").json()["total"] == 0


def test_an_argument_may_be_the_text_of_its_value_as_an_environment_takes_it(
    server: Server, client: httpx.Client
) -> None:
    know(server, team_of(server, client), "my-env", [{"id": "add", "args": ADD}])
    assert upload(client, {"task_id": "add", "args": {"a": "40"}}).status_code == 200


def test_a_name_means_the_environment_it_is_slugged_to(
    server: Server, client: httpx.Client
) -> None:
    know(server, team_of(server, client), "my-env", [{"id": "add", "args": ADD}])
    reply = upload(client, {"env": "My Env", "task_id": "sub"})
    assert "has no task 'sub'" in reply.json()["detail"]


def test_a_verifier_is_checked_like_a_task(server: Server, client: httpx.Client) -> None:
    know(server, team_of(server, client), "judge", [{"id": "check"}])
    reply = upload(client, {"task_id": "x", "verifier": {"env": "judge", "id": "other"}})
    assert "environment 'judge' (version 1) has no task 'other'" in reply.json()["detail"]
    fine = {"task_id": "x", "verifier": {"env": "judge", "id": "check", "args": {"n": 1}}}
    assert upload(client, fine).status_code == 200


def test_another_teams_environment_says_nothing(server: Server, client: httpx.Client) -> None:
    know(server, "somebody-else", "my-env", [{"id": "add", "args": ADD}])
    assert upload(client, {"task_id": "sub"}).status_code == 200


def test_what_did_not_change_is_not_checked_again(server: Server, client: httpx.Client) -> None:
    task: dict[str, Any] = {"task_id": "old"}
    assert upload(client, task).status_code == 200
    know(server, team_of(server, client), "my-env", [{"id": "new"}])
    assert upload(client, task).json()["tasks_unchanged"] == 1


def _endless() -> dict[str, Any]:
    """A schema that doubles what is to be done with each of 40 levels."""
    levels = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(40)}
    return {"type": "object", "$ref": "#/$defs/l0", "$defs": {**levels, "l40": {}}}


@pytest.mark.parametrize(
    "schema",
    [
        _endless(),
        {"type": "object", "properties": {"s": {"pattern": "^(a+)+$"}}},
        {"type": "object", "patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
        {"type": "object", "properties": {"s": {"format": "regex"}}},
        {"type": "object", "$ref": "#"},
        {"type": "object", "$ref": "http://127.0.0.1:9/nothing.json"},
        {"type": "object", "$ref": "file:///etc/passwd"},
        {"type": "no such type"},
        {"type": "object", "properties": [1, 2]},
        {"type": "object", "minProperties": "many"},
        {
            "type": "object",
            "properties": {
                "s": {"$schema": "http://json-schema.org/draft-07/schema", "pattern": "^(a+)+$"}
            },
        },
    ],
)
def test_a_schema_that_costs_too_much_or_makes_no_sense_lets_tasks_through(
    server: Server, client: httpx.Client, schema: dict[str, Any]
) -> None:
    know(server, team_of(server, client), "my-env", [{"id": "add", "args": schema}])
    args = {"s": "a" * 40 + "!", "a" * 40 + "!": 1}
    assert upload(client, *[{"task_id": "add", "args": args}] * 3).status_code == 200


@pytest.mark.parametrize("manifest", ["{", "[]", "{}", '{"tasks": 3}', '{"tasks": null}'])
def test_a_manifest_without_tasks_is_as_good_as_none(
    server: Server, client: httpx.Client, manifest: str
) -> None:
    know(server, team_of(server, client), "my-env", manifest=manifest)
    assert upload(client, {"task_id": "sub"}).status_code == 200
