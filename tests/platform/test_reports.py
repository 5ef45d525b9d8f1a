"""What clients report of jobs and runs: any order, any number of times, either spelling."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from hud._core.ids import new_id
from tests.platform.spans import step, upload_path


def report(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_smoke(client: httpx.Client) -> None:
    job, run = new_id(), new_id()
    assert report(client, f"/v2/trace/job/{job}/enter", {"name": "j", "group": 2}) == {
        "id": job,
        "cancel": [],
        "cancel_job": False,
    }
    report(client, f"/v2/trace/{uuid.UUID(run)}/enter", {"job_id": job, "task_slug": "t"})
    answer = client.post(upload_path(run), json={"telemetry": [step(run, 1), step(run, 2)]})
    assert answer.json()["accepted"] == 2, answer.text
    report(client, f"/v2/trace/{run}/exit", {"status": "completed", "reward": 0.0})
