"""What clients report of jobs and runs: any order, any number of times, either spelling.

A reward without the result of an evaluation is no grade, whatever was reported beside it.
"""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from hud._core.ids import new_id
from tests.platform.spans import step, upload_path

GRADE = {"score": 0.75, "done": True, "content": "good", "isError": False}


def report(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def enter_job(client: httpx.Client, job: str, **more: Any) -> dict[str, Any]:
    return report(client, f"/v2/trace/job/{job}/enter", {"name": "a job", "group": 2, **more})


def enter(client: httpx.Client, run: str, job: str, **more: Any) -> dict[str, Any]:
    return report(client, f"/v2/trace/{run}/enter", {"job_id": job, "task_slug": "t", **more})


def exit_(client: httpx.Client, run: str, **body: Any) -> dict[str, Any]:
    report(client, f"/v2/trace/{run}/exit", body)
    return read(client, run)


def read(client: httpx.Client, run: str) -> dict[str, Any]:
    answer = client.get(f"/v2/trace/{run}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_job_and_its_runs_are_heard_of_and_shown(client: httpx.Client) -> None:
    job, run = new_id(), new_id()
    assert enter_job(client, job) == {"id": job, "cancel": [], "cancel_job": False}
    enter(client, run, job, model="m", group_id="g", parent_trace_id=new_id())
    [shown] = client.get("/v2/jobs").json()["items"]
    assert (shown["id"], shown["name"], shown["status"]) == (job, "a job", "running")
    assert read(client, run)["status"] == "running"
    ended = exit_(client, run, status="completed", reward=0.75, evaluation_result=GRADE)
    assert (ended["outcome"], ended["reward"], ended["model"]) == ("graded", 0.75, "m")
    assert ended["evaluation_result"] == GRADE
    after = client.get(f"/v2/jobs/{job}").json()
    assert (after["status"], after["counts"]["mean_reward"]) == ("completed", 0.75)


@pytest.mark.parametrize("reward", [0.0, 1.0, None, "1.0"])
def test_a_reward_without_an_evaluation_is_no_grade(client: httpx.Client, reward: Any) -> None:
    job, run = new_id(), new_id()
    enter(client, run, job)
    ended = exit_(client, run, status="completed", reward=reward)
    assert (ended["outcome"], ended["reward"], ended["status"]) == ("grader", None, "error")
    assert ended["error"]
    counts = client.get(f"/v2/jobs/{job}").json()["counts"]
    assert (counts["graded"], counts["mean_reward"]) == (0, None)
    assert (counts["ungraded"], counts["lower_bound"], counts["upper_bound"]) == (
        {"grader": 1},
        0.0,
        1.0,
    )


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [
        ("provisioning", "runtime"),
        ("connecting", "runtime"),
        ("starting task", "environment"),
        ("agent loop", "agent"),
        ("grading", "grader"),
        ("verifying", "grader"),
        ("provisioning verifier", "runtime"),
        ("snapshotting actor", "runtime"),
        ("cleanup", "runtime"),
        ("something new", "runtime"),
    ],
)
def test_a_run_that_broke_says_at_which_boundary(
    client: httpx.Client, phase: str, outcome: str
) -> None:
    run = new_id()
    ended = exit_(client, run, status="error", reward=0.0, error=f"[{phase}] it broke")
    assert (ended["outcome"], ended["reward"]) == (outcome, None)
    assert ended["error"] == f"[{phase}] it broke"


def test_ungraded_timeouts_and_cancellations_say_so(client: httpx.Client) -> None:
    timed_out = exit_(client, new_id(), status="error", reward=0.0, stop_reason="timeout")
    assert (timed_out["outcome"], timed_out["reward"]) == ("timeout", None)
    cancelled = exit_(client, new_id(), status="cancelled", reward=0.0)
    assert (cancelled["outcome"], cancelled["status"]) == ("cancelled", "cancelled")
    graded_then = exit_(client, new_id(), status="cancelled", reward=0.75, evaluation_result=GRADE)
    assert (graded_then["outcome"], graded_then["reward"]) == ("cancelled", None)


def test_a_run_that_was_graded_although_its_agent_failed_keeps_both(client: httpx.Client) -> None:
    ended = exit_(
        client,
        new_id(),
        status="error",
        reward=0.75,
        error="[agent loop] it broke",
        evaluation_result=GRADE,
    )
    assert (ended["outcome"], ended["reward"], ended["status"]) == ("graded", 0.75, "error")
    assert ended["error"] == "[agent loop] it broke"
    slow = exit_(client, new_id(), status="error", stop_reason="timeout", evaluation_result=GRADE)
    assert (slow["outcome"], slow["reward"]) == ("graded", 0.75)


@pytest.mark.parametrize(
    "score", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b'"1"', b"null", b"true", b"[1]"]
)
def test_a_score_that_is_no_finite_number_is_no_grade(client: httpx.Client, score: bytes) -> None:
    run = new_id()
    body = b'{"status": "completed", "reward": 1.0, "evaluation_result": {"score": %s}}' % score
    answer = client.post(f"/v2/trace/{run}/exit", content=body)
    assert answer.status_code == 200, answer.text
    ended = read(client, run)
    assert (ended["outcome"], ended["reward"]) == ("grader", None)


def test_an_evaluation_that_itself_failed_is_no_grade(client: httpx.Client) -> None:
    failed = {"score": 0.0, "content": "no such file", "isError": True, "answer": "x"}
    ended = exit_(
        client,
        new_id(),
        status="error",
        reward=0.0,
        error="[agent loop] it broke",
        evaluation_result=failed,
    )
    assert (ended["outcome"], ended["reward"]) == ("agent", None)
    said = exit_(client, new_id(), status="completed", reward=0.0, evaluation_result=failed)
    assert (said["outcome"], said["reward"]) == ("grader", None)
    assert said["error"] == "no such file"


def test_a_client_that_knows_outcomes_is_believed_except_for_a_grade_without_a_score(
    client: httpx.Client,
) -> None:
    model = exit_(client, new_id(), status="error", outcome="model", evaluation_result=GRADE)
    assert (model["outcome"], model["reward"]) == ("model", None)
    graded = exit_(
        client,
        new_id(),
        status="completed",
        outcome="graded",
        evaluation_result={**GRADE, "isError": True},
    )
    assert (graded["outcome"], graded["reward"]) == ("graded", 0.75)
    nothing = exit_(client, new_id(), status="completed", outcome="graded", reward=1.0)
    assert (nothing["outcome"], nothing["reward"]) == ("grader", None)
    unknown = exit_(client, new_id(), outcome="splendid", evaluation_result=GRADE)
    assert (unknown["outcome"], unknown["status"]) == ("graded", "completed")


def test_reports_may_come_in_any_order_and_more_than_once(client: httpx.Client) -> None:
    job, run = new_id(), new_id()
    client.post(upload_path(run), json={"telemetry": [step(run, 2), step(run, 1)]})
    for _ in range(2):
        exit_(client, run, status="completed", reward=0.75, evaluation_result=GRADE)
    exit_(client, run, status="error", reward=0.0, error="late")
    assert read(client, run)["job_id"] is None
    for _ in range(2):
        enter(client, run, job)
    enter_job(client, job)
    enter_job(client, job, name="another name")
    shown = read(client, run)
    assert (shown["job_id"], shown["task_slug"], shown["reward"]) == (job, "t", 0.75)
    assert shown["start_time"].startswith("2026-11-01")
    assert client.get(f"/v2/jobs/{job}").json()["name"] == "a job"
    assert len(client.get(f"/v2/trace/{run}/steps").json()["items"]) == 2


def test_dashed_and_plain_ids_are_the_same(client: httpx.Client) -> None:
    job, run = uuid.uuid4(), uuid.uuid4()
    enter_job(client, str(job))
    enter(client, run.hex, str(job).upper())
    exit_(client, str(run), status="completed", evaluation_result=GRADE)
    for spelled in (job.hex, str(job), str(job).upper(), job.hex[:10]):
        answer = client.get(f"/v2/jobs/{spelled}/traces").json()
        assert [each["id"] for each in answer["items"]] == [run.hex], spelled
        assert answer["total"] == 1


def test_an_id_that_is_none_is_the_id_of_something_too(client: httpx.Client) -> None:
    enter(client, "my-run", new_id())
    assert client.post(upload_path("my-run"), json={"telemetry": []}).status_code == 200
    assert read(client, "my-run")["task_slug"] == "t"
    assert client.get("/v2/trace/your-run").status_code == 404


def test_repeats_of_a_task_are_members_in_the_order_in_which_they_came(
    client: httpx.Client,
) -> None:
    job, group = new_id(), new_id()
    ids = [new_id() for _ in range(3)]
    for run in ids:
        enter(client, run, job, group_id=group)
    for run in ids:
        enter(client, run, job, group_id=group)
    members = {run: read(client, run)["member"] for run in ids}
    assert [members[run] for run in ids] == [0, 1, 2]


def test_a_client_that_counts_members_and_attempts_is_believed(client: httpx.Client) -> None:
    job, first, again = new_id(), new_id(), new_id()
    enter(client, first, job, member=4, attempt=1, task_digest="d", runtime="r", env="e")
    enter(client, again, job, member=4, attempt=2)
    shown = read(client, first)
    assert (shown["member"], shown["task_digest"], shown["runtime"]) == (4, "d", "r")
    counts = client.get(f"/v2/jobs/{job}").json()["counts"]
    assert (counts["runs"], counts["attempts"]) == (1, 2)


def test_a_run_without_a_task_is_taken_in(client: httpx.Client) -> None:
    job, run = new_id(), new_id()
    report(client, f"/v2/trace/{run}/enter", {"job_id": job})
    ended = exit_(client, run, status="completed", reward=1.0, metadata={"success": True})
    assert (ended["task_slug"], ended["metadata"]) == ("", {"success": True})
    assert (ended["outcome"], ended["reward"]) == ("grader", None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"{}", 200),
        (b"[]", 400),
        (b"{", 400),
        (b'{"job_id": 5, "task_slug": [], "model": {}, "member": -1, "group_id": 1.5}', 200),
        (b'{"job_id": "\\u0000\\ud800", "task_slug": "\\u0000\\ud800"}', 200),
        (b"[" * 100_000, 400),
        (b'{"metadata":' * 5_000, 400),
    ],
)
def test_whatever_a_body_holds_there_is_an_answer_in_json(
    client: httpx.Client, body: bytes, status: int
) -> None:
    for path in (f"job/{new_id()}/enter", f"{new_id()}/enter", f"{new_id()}/exit"):
        answer = client.post(f"/v2/trace/{path}", content=body)
        assert answer.status_code == status, answer.text
        assert isinstance(answer.json(), dict)


def test_long_texts_and_documents_are_kept_within_bounds(client: httpx.Client) -> None:
    run = new_id()
    evaluation = {"score": 0.5, "content": "c" * 500_000, "subscores": [{"info": "x" * 500_000}]}
    ended = exit_(
        client,
        run,
        status="error",
        error="e" * 1_000_000,
        evaluation_result=evaluation,
        metadata={"m": "m" * 1_000_000},
    )
    assert ended["reward"] == 0.5
    assert len(ended["error"]) <= 64 * 1024
    assert ended["evaluation_result"]["truncated"] is True
    assert ended["metadata"]["truncated"] is True


def test_a_report_without_a_key_or_with_one_that_only_reads_is_refused(
    client: httpx.Client, server: Any, open_client: Any
) -> None:
    reader = open_client(server.key(scopes=["read"]))
    for one, status in ((open_client(None), 401), (open_client("hud_x"), 401), (reader, 403)):
        answer = one.post(f"/v2/trace/{new_id()}/exit", json={})
        assert answer.status_code == status
        assert set(answer.json()) == {"detail", "code", "hint"}
