"""Rollouts asked for over the API, and waiting until they are over."""

from __future__ import annotations

import time
from typing import Any

import httpx

from hud._core.ids import new_id

DEADLINE_S = 60.0
NOOP: dict[str, Any] = {"type": "noop", "config": {}}
OVER = ("completed", "error", "cancelled")


def submit(
    client: httpx.Client,
    task: str = "ask",
    *,
    agent: dict[str, Any] = NOOP,
    job_id: str | None = None,
    run_id: str | None = None,
    env: str = "qa",
    **more: Any,
) -> str:
    """Have a rollout run and return its id."""
    run_id = run_id or new_id()
    body = {"trace_id": run_id, "job_id": job_id or new_id(), "env": env, "task": task}
    reply = client.post("/v2/rollouts/submit", json={**body, "agent": agent, **more})
    assert reply.status_code == 200, reply.text
    return run_id


def state(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """Return how a run stands."""
    reply = client.get(f"/v2/trace/{run_id}")
    assert reply.status_code == 200, reply.text
    return reply.json()


def over(client: httpx.Client, run_id: str, *, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
    """Return how a run ended, once it has."""
    return until(client, run_id, *OVER, deadline_s=deadline_s)


def until(
    client: httpx.Client, run_id: str, *statuses: str, deadline_s: float = DEADLINE_S
) -> dict[str, Any]:
    """Return how a run stands, once it stands like this."""
    ends = time.monotonic() + deadline_s
    while True:
        found = state(client, run_id)
        if found["status"] in statuses:
            return found
        assert time.monotonic() < ends, f"still {found['status']}: {found}"
        time.sleep(0.02)


def screen(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """Return what is said of a run's screen."""
    reply = client.get(f"/v2/traces/{run_id}/screen")
    assert reply.status_code == 200, reply.text
    return reply.json()


def screen_settled(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """Return what is said of a run's screen once its environment is there."""
    ends = time.monotonic() + DEADLINE_S
    while (said := screen(client, run_id))["state"] in ("waiting", "elsewhere"):
        assert time.monotonic() < ends, said
        time.sleep(0.02)
    return said
