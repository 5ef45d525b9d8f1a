"""A run at a glance: its steps a line each, from any place, and those that say something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from hud._core.ids import new_id
from tests.platform.server import Server
from tests.platform.spans import step, upload_path


@pytest.fixture
def run(client: httpx.Client) -> str:
    """Return a run with a step of each kind."""
    run_id = new_id()
    spans = [step(run_id, number, payload) for number, payload in enumerate(PAYLOADS, 1)]
    answer = client.post(upload_path(run_id), json={"telemetry": spans})
    assert answer.status_code == 200 and answer.json()["rejected_count"] == 0, answer.text
    return run_id


def tool(name: Any, arguments: Any, *content: Any, **more: Any) -> dict[str, Any]:
    call = {"name": name, "arguments": arguments, "id": "1"}
    return {"source": "tool", "call": call, "result": {"content": list(content), **more}}


PICTURE = {"type": "image", "mimeType": "image/png", "data": "aGk="}
PAYLOADS: list[dict[str, Any]] = [
    {"source": "task", "task_call": {"phase": "setup", "name": "sort", "arguments": {}}},
    {
        "source": "user",
        "messages": [{"role": "user", "content": {"type": "text", "text": "Go on"}}],
    },
    {
        "source": "agent",
        "content": "I  look\nfirst",
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "cost_usd": 0.25},
    },
    {"source": "agent", "tool_calls": [{"name": "bash", "arguments": {}, "id": "1"}]},
    tool("bash", {"command": "echo Zebra"}, {"type": "text", "text": "Zebra"}),
    tool("computer", {"action": "left_click", "coordinate": [3, 4]}, PICTURE),
    tool("look_up", {"item": "apple"}, isError=True),
    {"source": "system", "extra": {"files": {"patches": [{"path": "a.py"}, {"path": "b.py"}]}}},
    {"source": "system", "error": "[grading] it broke"},
    {"source": "subagent", "subagent": {"steps": [], "content": "done"}},
    {
        "source": "task",
        "task_call": {"phase": "evaluate", "name": "sort", "result": {"score": 2 / 3}},
    },
]


def read(client: httpx.Client, run: str, **words: Any) -> dict[str, Any]:
    answer = client.get(f"/v2/trace/{run}/outline", params=words)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_line_says_what_a_step_is(client: httpx.Client, run: str) -> None:
    page = read(client, run)
    assert (page["offset"], page["total"]) == (0, len(PAYLOADS))
    assert [(line["kind"], line["title"]) for line in page["items"]] == [
        ("setup", "sort set up"),
        ("prompt", "Go on"),
        ("turn", "I look first"),
        ("turn", "calls bash"),
        ("shell", "echo Zebra"),
        ("screen", "computer left_click 3,4"),
        ("tool", "look_up apple"),
        ("files", "a.py, b.py"),
        ("error", "[grading] it broke"),
        ("subagent", "done"),
        ("grade", "sort graded: 0.6667"),
    ]
    turn, screen, failed = (page["items"][place] for place in (2, 5, 6))
    assert (turn["tokens"], turn["cost_usd"]) == ([7, 2], 0.25)
    assert screen["has_image"] and failed["is_error"]


def test_kinds_of_very_many_steps_take_few_bytes(client: httpx.Client, run: str) -> None:
    page = client.get(f"/v2/trace/{run}/kinds").json()
    lines = read(client, run)["items"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    assert [page["names"][letters.index(letter)] for letter in page["kinds"]] == [
        line["kind"] for line in lines
    ]
    marks = [line.get("is_error", False) + 2 * line.get("has_image", False) for line in lines]
    assert page["marks"] == "".join(str(int(mark)) for mark in marks)
    assert (page["runs"], page["offset"], page["total"]) == ([[1, 11]], 0, 11)
    rest = client.get(f"/v2/trace/{run}/kinds", params={"after": 4, "limit": 3}).json()
    assert (rest["runs"], rest["offset"], rest["kinds"]) == ([[5, 3]], 4, page["kinds"][4:7])


def test_lines_are_read_from_any_place(client: httpx.Client, run: str) -> None:
    middle = read(client, run, offset=4, limit=2)
    assert [line["seq"] for line in middle["items"]] == [5, 6] and middle["offset"] == 4
    after = read(client, run, after=6, limit=2)
    assert [line["seq"] for line in after["items"]] == [7, 8] and after["offset"] == 6
    beyond = read(client, run, offset=1_000)
    assert beyond["items"] == [] and beyond["total"] >= len(PAYLOADS)


def test_a_digest_is_of_what_is_said_not_of_when(client: httpx.Client) -> None:
    first, second = new_id(), new_id()
    for run_id, output in ((first, "same"), (second, "same")):
        said = {"type": "text", "text": output}
        call = tool("bash", {"command": "ls"}, said)
        call["call"]["id"] = run_id
        spans = [step(run_id, 1, call)]
        client.post(upload_path(run_id), json={"telemetry": spans})
    [one], [other] = (read(client, each, digests=True)["items"] for each in (first, second))
    assert one["digest"] == other["digest"]
    assert "digest" not in read(client, first)["items"][0]


def test_steps_are_found_by_what_they_say(client: httpx.Client, run: str) -> None:
    def find(words: str) -> list[int]:
        return client.get(f"/v2/trace/{run}/search", params={"q": words}).json()["items"]

    assert find("zEBRA") == [5]
    assert find("0.25") == [3]
    assert find("look\nfirst") == [3]
    assert find("source") == [], "names of fields are not what a step says"
    assert find("_") == [6, 7]
    assert find("100%") == find('"') == []


def test_what_makes_no_sense_is_a_line_all_the_same(client: httpx.Client) -> None:
    run = new_id()
    odd: list[dict[str, Any]] = [
        {"source": "tool", "call": "x", "result": [1]},
        {"source": "agent", "tool_calls": "x", "usage": {"prompt_tokens": "many"}},
        {"source": "task", "task_call": {"phase": "evaluate", "result": {"score": "high"}}},
        {"source": "user", "messages": [None, {"content": 4}]},
        {"source": "system", "extra": {"files": {"patches": "x"}}},
        tool(["a"], 5, {"type": "image", "data": {"$blob": 5}}),
    ]
    spans = [step(run, number, payload) for number, payload in enumerate(odd, 1)]
    client.post(upload_path(run), json={"telemetry": spans})
    page = read(client, run, digests=True)
    assert page["total"] == len(page["items"])
    assert all(line["title"] and line["kind"] for line in page["items"])


def test_nobody_else_sees_it(
    server: Server, run: str, open_client: Callable[[str | None], httpx.Client]
) -> None:
    stranger = open_client(server.key(team="strangers"))
    for path in (f"/v2/trace/{run}/outline", f"/v2/trace/{run}/search?q=zebra"):
        assert stranger.get(path).status_code == 404
        assert open_client(None).get(path).status_code == 401
