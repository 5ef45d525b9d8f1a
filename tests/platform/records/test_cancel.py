"""Ending runs and jobs: reporters hear of it, a process beside the server is interrupted."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx

from hud._core.ids import new_id
from tests.platform.server import DEADLINE_S, Server, environment
from tests.platform.spans import step, upload_path


def post(client: httpx.Client, path: str, body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def begin(client: httpx.Client, job: str) -> str:
    run = new_id()
    post(client, f"/v2/trace/{run}/enter", {"job_id": job, "task_slug": "t"})
    return run


def test_a_reporter_hears_that_its_job_is_to_end(client: httpx.Client) -> None:
    job = new_id()
    done, going = begin(client, job), begin(client, job)
    post(client, f"/v2/trace/{done}/exit", {"status": "completed", "reward": 0.0})
    told = post(client, "/v2/rollouts/cancel_job", {"job_id": str(uuid.UUID(job))})
    assert told == {"job_id": job, "cancelled": 1, "total_found": 2}
    for path, body in (
        (f"/v2/trace/job/{job}/enter", {"name": "j", "group": 1}),
        (f"/v2/trace/{going}/enter", {"job_id": job}),
        (upload_path(going), {"telemetry": [step(going, 1)]}),
        (f"/v2/trace/{going}/exit", {"status": "cancelled"}),
    ):
        assert post(client, path, body)["cancel_job"] is True
    assert client.get("/v2/audit").json()["items"][0]["action"] == "job.cancel"
    again = post(client, "/v2/rollouts/cancel_job", {"job_id": job})
    assert again["cancelled"] == 0


def test_a_reporter_hears_which_of_its_runs_are_to_end(client: httpx.Client) -> None:
    job = new_id()
    one, two = begin(client, job), begin(client, job)
    body = {"trace_id": str(uuid.UUID(one)), "job_id": str(uuid.UUID(job))}
    assert post(client, "/v2/rollouts/cancel", body) == {"trace_id": one, "status": "accepted"}
    heard = post(client, upload_path(two), {"telemetry": [step(two, 1)]})
    assert (heard["cancel"], heard["cancel_job"]) == ([one], False)
    post(client, f"/v2/trace/{one}/exit", {"status": "cancelled"})
    assert post(client, "/v2/rollouts/cancel", body)["status"] == "finished"
    assert client.post("/v2/rollouts/cancel", json={"trace_id": new_id()}).status_code == 404
    assert client.post("/v2/rollouts/cancel", json={}).status_code == 422


def test_everything_somebody_began_is_ended_at_once(client: httpx.Client) -> None:
    jobs = [new_id(), new_id(), new_id()]
    runs = [begin(client, job) for job in jobs]
    post(client, f"/v2/trace/{runs[0]}/exit", {"status": "completed", "reward": 0.0})
    told = post(client, "/v2/rollouts/cancel_user_jobs", {})
    assert (told["jobs_cancelled"], told["total_tasks_cancelled"]) == (2, 2)
    details = {each["job_id"]: each["cancelled"] for each in told["job_details"]}
    assert details == {jobs[1]: 1, jobs[2]: 1}


HOLDER = """
import sys, time
from pathlib import Path
from hud.store import JobRow, RunStart, open_store
home, job, run = sys.argv[1:]
store = open_store(Path(home))
with store.lock_job(job):
    store.put(JobRow(id=job, created_at=time.time_ns() // 1000, name="beside"))
    store.put(RunStart(id=run, job_id=job, task_slug="t", started_at=time.time_ns() // 1000))
    store.flush()
    print("held", flush=True)
    try:
        sys.stdin.read()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@contextlib.contextmanager
def working_beside(server: Server, job: str, run: str) -> Generator[subprocess.Popen[str]]:
    """Run a process that works on a job in the server's own store."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(server.home), job, run],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(server.home),
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_records_beside_the_server_is_interrupted(
    server: Server, open_client: Any
) -> None:
    local = open_client(server.key())
    stranger = open_client(server.key(team="strangers"))
    job, run = new_id(), new_id()
    with working_beside(server, job, run) as process:
        assert post(local, "/v2/rollouts/cancel", {"trace_id": run})["status"] == "unreachable"
        assert stranger.post("/v2/rollouts/cancel_job", json={"job_id": job}).status_code == 404
        told = post(local, "/v2/rollouts/cancel_job", {"job_id": job})
        assert (told["cancelled"], told["total_found"]) == (1, 1)
        out, _ = process.communicate(timeout=DEADLINE_S)
        assert (out, process.returncode) == ("interrupted\n", 0)
    assert local.get(f"/v2/jobs/{job}").json()["status"] == "interrupted"
    assert local.get(f"/v2/trace/{run}").json()["status"] == "interrupted"


def test_a_job_that_another_team_reports_under_the_same_id_interrupts_nobody(
    server: Server, open_client: Any
) -> None:
    stranger = open_client(server.key(team="strangers"))
    job, run = new_id(), new_id()
    with working_beside(server, job, run) as process:
        begin(stranger, job)
        assert post(stranger, "/v2/rollouts/cancel_job", {"job_id": job})["cancelled"] == 1
        post(stranger, "/v2/rollouts/cancel_user_jobs", {})
        out, _ = process.communicate(timeout=DEADLINE_S)
        assert (out, process.returncode) == ("", 0)
