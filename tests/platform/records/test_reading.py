"""Jobs, runs and what happened in them, as the API gives them: pages, filters, bounds, blobs."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import httpx
import pytest

from hud._core.ids import new_id
from tests.platform.server import Server
from tests.platform.spans import span, step, upload_path

DATABASES = ("sqlite", "postgres")

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
GRADE = {"score": 0.5, "done": True}


def post(client: httpx.Client, path: str, body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def get(client: httpx.Client, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def make_run(client: httpx.Client, job: str, slug: str = "t", **more: Any) -> str:
    run = new_id()
    post(client, f"/v2/trace/{run}/enter", {"job_id": job, "task_slug": slug, **more})
    return run


def end_run(client: httpx.Client, run: str, **body: Any) -> None:
    post(client, f"/v2/trace/{run}/exit", {"status": "completed", **body})


def every_page(client: httpx.Client, path: str, **query: Any) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = get(client, path, **query, **({} if cursor is None else {"cursor": cursor}))
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_jobs_come_newest_first_by_cursor_and_by_offset(client: httpx.Client) -> None:
    ids = [new_id() for _ in range(7)]
    for number, job in enumerate(ids):
        post(client, f"/v2/trace/job/{job}/enter", {"name": f"job {number}", "group": 1})
    assert [each["id"] for each in every_page(client, "/v2/jobs", limit=3)] == ids[::-1]
    pages = [get(client, "/v2/jobs", limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [each["id"] for page in pages for each in page["items"]] == ids[::-1]
    assert {page["total"] for page in pages} == {7}


def test_jobs_are_found_by_what_is_asked(client: httpx.Client) -> None:
    done, going = new_id(), new_id()
    post(client, f"/v2/trace/job/{done}/enter", {"name": "Done 100%", "group": 1, "model": "m"})
    post(client, f"/v2/trace/job/{going}/enter", {"name": "going", "group": 1})
    end_run(client, make_run(client, done), evaluation_result=GRADE)
    make_run(client, going)

    def ids(**query: Any) -> list[str]:
        return [each["id"] for each in get(client, "/v2/jobs", **query)["items"]]

    assert ids(name="done") == ids(name="100%") == [done]
    assert ids(name="1__%") == []
    assert ids(status="completed") == ids(model="m") == [done]
    assert ids(status="running") == [going]
    assert get(client, "/v2/jobs", name="done")["total"] == 1
    assert get(client, "/v2/jobs", status="running")["total"] is None


def test_runs_of_a_job_come_by_task_and_member(client: httpx.Client) -> None:
    job = new_id()
    ids = [make_run(client, job, slug) for slug in ("b", "a", "a", "b")]
    wanted = [ids[1], ids[2], ids[0], ids[3]]
    path = f"/v2/jobs/{job}/traces"
    assert [each["id"] for each in every_page(client, path, limit=3)] == wanted
    rest = get(client, path, limit=3, offset=3)
    assert ([each["id"] for each in rest["items"]], rest["total"]) == (wanted[3:], 4)
    assert get(client, path, limit=3, offset=4)["items"] == []
    assert client.get(f"/v2/jobs/{new_id()}/traces").status_code == 404


def test_runs_are_found_by_what_is_asked(client: httpx.Client) -> None:
    job, other = new_id(), new_id()
    graded = make_run(client, job, "one", model="m", env="e")
    broken = make_run(client, job, "two")
    open_ = make_run(client, other, "one")
    end_run(client, graded, evaluation_result=GRADE)
    end_run(client, broken, reward=0.0)

    def ids(**query: Any) -> set[str]:
        return {each["id"] for each in every_page(client, "/v2/traces", limit=1, **query)}

    assert ids() == {graded, broken, open_}
    assert ids(job_id=str(uuid.UUID(job))) == {graded, broken}
    assert ids(outcome="graded") == ids(model="m") == ids(env="e") == {graded}
    assert ids(outcome="grader") == ids(task_slug="two") == {broken}
    assert ids(status="running") == {open_}
    assert ids(since="2099-01-01T00:00:00Z") == ids(until="2001-01-01") == set()
    assert ids(until="2099-01-01T00:00:00+02:00") == {graded, broken, open_}
    assert get(client, "/v2/traces", job_id=job)["total"] == 2
    for query in ({"cursor": "x"}, {"since": "soon"}, {"job_id": "x y"}, {"outcome": "?"}):
        assert client.get("/v2/traces", params=query).status_code in (400, 422), query


def test_a_job_counts_members_by_what_became_of_them(client: httpx.Client) -> None:
    job = new_id()
    ids = [make_run(client, job) for _ in range(5)]
    end_run(client, ids[0], evaluation_result={"score": 1.0})
    end_run(client, ids[1], evaluation_result={"score": 0.0})
    end_run(client, ids[2], reward=0.0)
    end_run(client, ids[3], evaluation_result={"score": 1.0})
    reason = {"reason": "wrong image"}
    marked = client.put(f"/v2/trace/{ids[3]}/invalid", json=reason).json()
    assert (marked["invalid_reason"], marked["reward"]) == ("wrong image", 1.0)
    counts = get(client, f"/v2/jobs/{job}")["counts"]
    assert counts == {
        "runs": 5,
        "attempts": 5,
        "graded": 2,
        "running": 1,
        "ungraded": {"grader": 1},
        "invalid": 1,
        "mean_reward": 0.5,
        "coverage": 0.5,
        "lower_bound": 0.25,
        "upper_bound": 0.75,
    }
    client.request("DELETE", f"/v2/trace/{ids[3]}/invalid")
    assert get(client, f"/v2/jobs/{job}")["counts"]["invalid"] == 0
    actions = [each["action"] for each in get(client, "/v2/audit")["items"]]
    assert actions[:2] == ["run.mark_valid", "run.mark_invalid"]


def test_steps_come_in_pages_that_are_bounded_in_bytes(client: httpx.Client) -> None:
    run = new_id()
    text = "x" * 60_000
    for first in range(1, 301, 100):
        spans = [step(run, number, {"content": text}) for number in range(first, first + 100)]
        post(client, upload_path(run), {"telemetry": spans})
    numbers: list[int] = []
    sizes: list[int] = []
    after = 0
    while after is not None:
        answer = client.get(f"/v2/trace/{run}/steps", params={"after": after, "limit": 1000})
        sizes.append(len(answer.content))
        page = answer.json()
        numbers += [each["seq"] for each in page["items"]]
        after = page["next_after"]
    assert numbers == list(range(1, 301))
    assert len(sizes) > 1 and max(sizes) < 10 * 1024 * 1024
    page = get(client, f"/v2/trace/{run}/steps", limit=2, after=5)
    assert ([each["seq"] for each in page["items"]], page["next_after"]) == ([6, 7], 7)


def test_what_happened_is_told_in_events(client: httpx.Client) -> None:
    run = new_id()
    long_text = "y" * 100_000
    call = {"name": "bash", "arguments": {"command": "ls"}, "id": "1"}
    prompt = {"messages": [{"role": "user", "content": {"type": "text", "text": "Do it."}}]}
    image = {"type": "image", "mimeType": "image/png", "data": base64.b64encode(PNG).decode()}
    content = [{"type": "text", "text": "a.py"}, image]
    grade = {"phase": "evaluate", "name": "count", "result": {"score": 0.5}}
    files = {"files": {"phase": "agent", "patches": [{"path": "a.py", "status": "added"}]}}
    spans = [
        step(run, 1, prompt, source="user"),
        step(run, 2, {"content": "hm", "reasoning": "r", "tool_calls": [call]}),
        step(run, 3, {"call": call, "result": {"content": content}}, source="tool"),
        step(
            run, 4, {"call": call, "result": {"content": content, "isError": True}}, source="tool"
        ),
        step(run, 5, {"extra": files}, source="system"),
        step(run, 6, {"content": long_text}),
        step(run, 7, {"task_call": grade}, source="task"),
        step(run, 8, {"error": "[cleanup] it broke"}, source="system"),
    ]
    post(client, upload_path(run), {"telemetry": spans})
    events = get(client, f"/v2/trace/{run}/events")["events"]
    plain = [{k: v for k, v in each.items() if k not in ("seq", "timestamp")} for each in events]
    shown = {"name": "bash", "arguments": {"command": "ls"}}
    failed = "a.py\n[image]"
    assert plain == [
        {"kind": "environment", "text": "Do it."},
        {
            "kind": "agent_message",
            "text": "hm",
            "reasoning": "r",
            "tool_calls": [shown],
            "error": None,
        },
        {
            "kind": "tool_call",
            "tool_name": "bash",
            "arguments": {"command": "ls"},
            "result_text": failed,
            "error": None,
        },
        {
            "kind": "tool_call",
            "tool_name": "bash",
            "arguments": {"command": "ls"},
            "result_text": failed,
            "error": failed,
        },
        {"kind": "environment", "text": "files changed: a.py"},
        {
            "kind": "agent_message",
            "text": long_text,
            "reasoning": None,
            "tool_calls": [],
            "error": None,
        },
        {"kind": "environment", "text": "count was graded: 0.5"},
        {"kind": "environment", "text": "[cleanup] it broke"},
    ]
    assert [each["seq"] for each in events] == list(range(1, 9))


def test_everything_of_a_run_is_downloaded_as_lines(client: httpx.Client) -> None:
    job = new_id()
    run = make_run(client, job)
    image = {"type": "image", "mimeType": "image/png", "data": base64.b64encode(PNG).decode()}
    seen = step(run, 1, {"result": {"content": [image]}}, source="tool")
    debug = span(run, "f")
    post(client, upload_path(run), {"telemetry": [seen, step(run, 2), debug]})
    end_run(client, run, evaluation_result=GRADE)
    answer = client.get(f"/v2/trace/{run}/download")
    assert answer.headers["content-disposition"].startswith("attachment")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["kind"] for each in lines] == ["run", "step", "step", "span"]
    assert (lines[0]["id"], lines[0]["reward"]) == (run, 0.5)
    assert lines[1]["payload"]["result"]["content"] == [image]
    assert lines[3]["span"] == debug


@pytest.fixture
def blob(client: httpx.Client) -> str:
    run = new_id()
    image = {"type": "image", "mimeType": "image/png", "data": base64.b64encode(PNG).decode()}
    post(client, upload_path(run), {"telemetry": [step(run, 1, {"content": [image]})]})
    [kept] = get(client, f"/v2/trace/{run}/steps")["items"]
    return kept["payload"]["content"][0]["data"]["$blob"]


def test_a_blob_is_handed_out_so_that_no_browser_runs_it(client: httpx.Client, blob: str) -> None:
    answer = client.get(f"/v2/blobs/{blob}")
    assert answer.content == PNG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "private" in answer.headers["cache-control"]
    again = client.get(f"/v2/blobs/{blob}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.head(f"/v2/blobs/{blob}").headers["content-length"] == str(len(PNG))


@pytest.mark.parametrize("media_type", ["image/svg+xml", "video/x-html", "text/html"])
def test_what_a_browser_could_run_is_a_file_to_keep(client: httpx.Client, media_type: str) -> None:
    run = new_id()
    page = b"<svg onload='alert(1)'></svg>" * 4_000
    image = {"mimeType": media_type, "data": base64.b64encode(page).decode()}
    post(client, upload_path(run), {"telemetry": [step(run, 1, {"content": [image]})]})
    [kept] = get(client, f"/v2/trace/{run}/steps")["items"]
    answer = client.get(f"/v2/blobs/{kept['payload']['content'][0]['data']['$blob']}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-3", 206, PNG[:4]),
        ("bytes=100-", 206, PNG[100:]),
        ("bytes=-5", 206, PNG[-5:]),
        ("bytes=0-999999999", 206, PNG),
        ("bytes=99999999-", 416, None),
        ("bytes=5-2", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=0-1,4-5", 200, PNG),
        ("lines=1-2", 200, PNG),
        ("bytes=-", 200, PNG),
    ],
)
def test_a_part_of_a_blob_is_handed_out(
    client: httpx.Client, blob: str, asked: str, status: int, part: bytes | None
) -> None:
    answer = client.get(f"/v2/blobs/{blob}", headers={"Range": asked})
    assert answer.status_code == status
    if part is not None:
        assert answer.content == part
    if status == 206:
        assert answer.headers["content-range"].endswith(f"/{len(PNG)}")


@pytest.mark.parametrize("name", ["../../hud.db", "%2e%2e%2fhud.db", "a" * 63, "A" * 64, "a" * 64])
def test_no_name_reaches_a_file_that_is_no_blob_of_the_team(
    client: httpx.Client, name: str
) -> None:
    assert client.get(f"/v2/blobs/{name}").status_code in (404, 422)


def test_a_job_is_deleted_with_everything_in_it(client: httpx.Client) -> None:
    job = new_id()
    runs = [make_run(client, job) for _ in range(3)]
    for run in runs:
        post(client, upload_path(run), {"telemetry": [step(run, 1), span(run, "f")]})
    refused = client.request("DELETE", f"/v2/jobs/{job}")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    for run in runs:
        end_run(client, run, reward=0.0)
    deleted = client.request("DELETE", f"/v2/jobs/{job}")
    assert deleted.json() == {"id": job, "runs": 3}
    assert client.get(f"/v2/jobs/{job}").status_code == 404
    for run in runs:
        assert client.get(f"/v2/trace/{run}/steps").status_code == 404
    assert get(client, "/v2/audit")["items"][0]["action"] == "job.delete"
    late = post(client, upload_path(runs[0]), {"telemetry": [step(runs[0], 2)]})
    assert late["accepted"] == 1
    assert get(client, f"/v2/trace/{runs[0]}")["job_id"] is None


def test_only_an_admin_deletes_and_only_a_recorder_marks(server: Server, open_client: Any) -> None:
    member = open_client(server.key(scopes=["read", "write"]))
    reader = open_client(server.key(scopes=["read"]))
    run = make_run(member, new_id())
    assert member.request("DELETE", f"/v2/jobs/{new_id()}").status_code == 403
    assert reader.put(f"/v2/trace/{run}/invalid", json={"reason": "x"}).status_code == 403
    assert member.put(f"/v2/trace/{run}/invalid", json={"reason": ""}).status_code == 422
