"""The published client syncs tasksets and lists projects against a platform of ours, unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.platform.programs import Published
from tests.platform.registry.known import know
from tests.platform.server import Server

TASKS = [
    {"env": "shop", "id": "buy", "args": {"item": "apple", "count": 2, "price": 1.0, "note": None}},
    {
        "env": "shop",
        "id": "look",
        "args": {},
        "slug": "look/around ü",
        "columns": {"level": "easy"},
        "agent_config": {"system_prompt": "be brief"},
        "runtime_config": {"resources": {"cpu": 2, "memory_mb": 512}},
        "validation": [{"name": "shell", "arguments": {"cmd": "ls"}}],
        "verifier": {"env": "judge", "id": "check", "args": {"strict": True}},
    },
]


@pytest.fixture
def theirs(peer_python: Path, server: Server, tmp_path: Path) -> Published:
    (tmp_path / "tasks.json").write_text(json.dumps(TASKS), encoding="utf-8")
    key = server.key(team="their-team", scopes=("read", "write", "inference"))
    return Published(peer_python, server, tmp_path, key)


def test_a_taskset_synced_twice_is_up_to_date_the_second_time(
    server: Server, theirs: Published
) -> None:
    first = theirs.hud("sync", "tasks", "shop/tasks ü", "tasks.json", "--yes")
    assert (first["tasks_created"], first["tasks_updated"]) == (2, 0)
    second = theirs.hud("sync", "tasks", "shop/tasks ü", "tasks.json", "--yes")
    assert second["status"] == "up_to_date"
    assert second["unchanged_count"] == 2
    forced = theirs.hud("sync", "tasks", "shop/tasks ü", "tasks.json", "--yes", "--force")
    assert (forced["tasks_created"], forced["tasks_updated"]) == (0, 0)
    changed = [{**TASKS[0], "slug": "look/around ü"}, TASKS[0]]
    (theirs.folder / "tasks.json").write_text(json.dumps(changed), encoding="utf-8")
    third = theirs.hud("sync", "tasks", first["taskset_id"], "tasks.json", "--yes")
    assert (third["tasks_created"], third["tasks_updated"]) == (0, 1)
    theirs.hud("sync", "tasks", "shop/tasks ü", "--export", "out.json")
    assert len(json.loads((theirs.folder / "out.json").read_text(encoding="utf-8"))) == 2


def test_a_project_is_made_used_and_synced_into(server: Server, theirs: Published) -> None:
    assert [one["is_default"] for one in theirs.hud("project", "list")] == [True]
    made = theirs.hud("project", "create", "Their Project", "--yes")
    assert made["name"] == "their-project"
    assert {one["name"] for one in theirs.hud("project", "list")} == {"default", "their-project"}
    assert theirs.hud("project", "use", "Their Project")["id"] == made["id"]
    done = theirs.hud("sync", "tasks", "in-project", "tasks.json", "--yes")
    with server.client(theirs.key) as client:
        record = client.get(f"/v2/tasksets/{done['taskset_id']}").json()
    assert record["project_id"] == made["id"]


def test_an_environment_is_linked_by_name(server: Server, theirs: Published) -> None:
    environment_id = know(server, "their-team", "linked-env", [])
    linked = theirs.hud("sync", "env", "linked-env", ".", "--yes")
    assert linked["id"].replace("-", "") == environment_id


def test_a_refused_upload_is_shown_line_by_line(server: Server, theirs: Published) -> None:
    know(server, "their-team", "shop", [{"id": "look", "args": {"type": "object"}}])
    sync = ("sync", "tasks", "refused", "tasks.json", "--yes")
    done = theirs.attempt("-m", "hud.cli", *sync)
    assert done.returncode != 0
    assert "environment 'shop' (version 1) has no task 'buy'" in " ".join(
        (done.stdout + done.stderr).split()
    )
