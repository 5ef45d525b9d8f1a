"""Rollouts that a platform runs itself: how many a minute, and how soon one begins when idle.

The environment is a plain source, so that what is measured is the queue, the workers and the
records, and not what builds a sandbox.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks import proc
from benchmarks.programs import spec
from hud import SubprocessRuntime, Task, Taskset
from hud._core.ids import new_id
from hud.agents.noop import NoopAgent

SOURCE = Path(__file__).parents[1] / "sources" / "letters.py"
_SERVED = (sys.executable, "-m", "tests.platform.remote.served", "platform", "up", "--port", "0")


@dataclass(frozen=True)
class Work:
    """What to do: `bare` runs the same rollouts in this process; `idle` one at a time, apart."""

    how: str
    rollouts: int
    width: int
    under_way: int = 64


def main() -> None:
    work = spec.read(Work)
    if work.how == "bare":
        spec.write(asyncio.run(_bare(work)))
    else:
        spec.write(asyncio.run(_served(work)))


async def _bare(work: Work) -> dict[str, Any]:
    tasks = Taskset("letters", [Task(env="letter-count", id="count_letter")])
    runtime = SubprocessRuntime(SOURCE)
    async with runtime:
        await tasks.run(NoopAgent(), runtime=runtime)
        began = time.perf_counter()
        job = await tasks.run(
            NoopAgent(), runtime=runtime, group=work.rollouts, max_concurrent=work.width
        )
        took_s = time.perf_counter() - began
    assert all(run.is_graded for run in job.runs)
    return {"took_s": took_s}


def _started(home: Path, width: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*_SERVED, "--home", str(home), "--rollouts", str(width), "--json"],
        env={**os.environ, "HUD_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )


@asynccontextmanager
async def _platform(width: int) -> AsyncGenerator[tuple[httpx.AsyncClient, int]]:
    from tests.platform.registry.known import know
    from tests.platform.server import Server

    with tempfile.TemporaryDirectory(prefix="hud-bench-") as folder:
        home = Path(folder) / "home"
        known = Server(home)
        server = _started(home, width)
        try:
            assert server.stdout is not None
            text = ""
            while not text.rstrip().endswith("}"):
                text += server.stdout.readline()
            known.url = json.loads(text)["url"]
            key = known.key()
            know(known, "local", "letter-count", [{"id": "count_letter"}], uri=f"source:{SOURCE}")
            async with httpx.AsyncClient(
                base_url=known.url,
                headers={"Authorization": f"Bearer {key}"},
                trust_env=False,
                timeout=60,
            ) as client:
                yield client, server.pid
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


async def _served(work: Work) -> dict[str, Any]:
    async with _platform(work.width) as (client, pid):
        await _over(client, await _submit(client, new_id()))
        if work.how == "idle":
            waits = [await _begin(client) for _ in range(work.rollouts)]
            ordered = sorted(waits)
            at = min(len(ordered) - 1, int(len(ordered) * 0.95))
            return {"p50_s": statistics.median(waits), "p95_s": ordered[at]}
        job, gate = new_id(), asyncio.Semaphore(work.under_way)
        before = proc.cpu_s(pid)
        began = time.perf_counter()

        async def submit() -> str:
            async with gate:
                return await _submit(client, job)

        await asyncio.gather(*(submit() for _ in range(work.rollouts)))
        submitted_s = time.perf_counter() - began
        while True:
            counts = (await client.get(f"/v2/jobs/{job}")).json()["counts"]
            if counts["graded"] == work.rollouts:
                break
            assert not counts["ungraded"], counts
            await asyncio.sleep(0.1)
        took_s = time.perf_counter() - began
        cpu_s = proc.cpu_s(pid) - before
        return {"took_s": took_s, "submitted_s": submitted_s, "cpu_s": cpu_s}


async def _submit(client: httpx.AsyncClient, job: str) -> str:
    run = new_id()
    body = {"trace_id": run, "job_id": job, "env": "letter-count", "task": "count_letter"}
    reply = await client.post("/v2/rollouts/submit", json={**body, "agent": {"type": "noop"}})
    assert reply.status_code == 200, reply.text
    return run


async def _over(client: httpx.AsyncClient, run: str) -> dict[str, Any]:
    while True:
        state = (await client.get(f"/v2/trace/{run}")).json()
        if state["status"] == "completed":
            return state
        assert state["status"] in ("pending", "running"), state
        await asyncio.sleep(0.01)


async def _begin(client: httpx.AsyncClient) -> float:
    """Return the seconds from asking for a rollout to its beginning, asking included."""
    asked_at = time.time()
    state = await _over(client, await _submit(client, new_id()))
    await asyncio.sleep(0.05)
    return datetime.fromisoformat(state["start_time"]).timestamp() - asked_at


if __name__ == "__main__":
    main()
