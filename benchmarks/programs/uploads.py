"""Upload spans to a platform as clients do: batches of 100, eight at a time, until time is up."""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from benchmarks.programs import spec

SPANS, WARM_S = 100, 1.0
_encode = msgspec.json.Encoder().encode


@dataclass
class Work:
    """What to upload.

    Attributes:
        database: A PostgreSQL URL; None is SQLite.
        text_bytes: How long the answer in each step is.
    """

    seconds: float
    concurrent: int = 8
    text_bytes: int = 600
    database: str | None = None


def batch(run_id: str, first: int, text: str) -> bytes:
    """Return 100 steps of a run: turns of a model, with their usage."""
    usage = {"prompt_tokens": 1200, "completion_tokens": 80, "llm_call_count": 1}
    spans: list[dict[str, Any]] = []
    for number in range(first, first + SPANS):
        payload = {
            "step_id": number,
            "source": "agent",
            "content": text,
            "tool_calls": [{"name": "bash", "arguments": {"command": "ls"}, "id": f"c{number}"}],
            "done": False,
            "model": "some-model",
            "usage": usage,
            "started_at": "2026-11-01T10:00:00.000000Z",
            "ended_at": "2026-11-01T10:00:01.000000Z",
        }
        spans.append(
            {
                "name": "step.agent",
                "trace_id": run_id,
                "span_id": os.urandom(8).hex(),
                "parent_span_id": None,
                "kind": "INTERNAL",
                "start_time": "2026-11-01T10:00:00.000000Z",
                "end_time": "2026-11-01T10:00:01.000000Z",
                "status_code": "OK",
                "status_message": None,
                "attributes": {
                    "hud.task_run_id": run_id,
                    "hud.schema": "hud.step.v1",
                    "hud.payload": payload,
                },
                "events": [],
            }
        )
    return _encode({"telemetry": spans})


@contextmanager
def platform(work: Work) -> Generator[tuple[str, str, int]]:
    """Run a platform on a folder of its own; yield its address, a key and its process."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        home = Path(folder) / "home"
        options = ["--home", str(home)]
        if work.database is not None:
            options += ["--database", work.database]
        hud = (sys.executable, "-m", "hud")
        made = subprocess.run(
            [*hud, "keys", "create", "bench", *options], check=True, capture_output=True
        )
        process = subprocess.Popen(
            [*hud, "platform", "up", "--port", "0", *options], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            url = process.stdout.readline().decode().split()[-1]
            yield url, made.stdout.decode().strip(), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
            process.stdout.close()


async def upload(work: Work, url: str, key: str, until: float, waits: list[float]) -> int:
    """Upload until the clock says so; return how many spans were acknowledged."""
    count = 0
    text = "x" * work.text_bytes
    connector = aiohttp.TCPConnector(limit=work.concurrent)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    async def one(session: aiohttp.ClientSession) -> None:
        nonlocal count
        while time.perf_counter() < until:
            run_id = secrets.token_hex(16)
            path = f"{url}/telemetry/v3/api/trace/{run_id}/telemetry-upload"
            for first in range(1, 1_000, SPANS):
                body = batch(run_id, first, text)
                began = time.perf_counter()
                async with session.post(path, data=body) as answer:
                    said = await answer.json()
                waits.append(time.perf_counter() - began)
                count += said["accepted"]
                if time.perf_counter() >= until:
                    return

    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        asyncio.TaskGroup() as tasks,
    ):
        for _ in range(work.concurrent):
            tasks.create_task(one(session))
    return count


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main() -> None:
    work = spec.read(Work)
    with platform(work) as (url, key, pid):
        await upload(work, url, key, time.perf_counter() + WARM_S, [])
        waits: list[float] = []
        server_s, own = cpu_of(pid), resource.getrusage(resource.RUSAGE_SELF)
        began = time.perf_counter()
        count = await upload(work, url, key, began + work.seconds, waits)
        took_s = time.perf_counter() - began
        server_s, used = cpu_of(pid) - server_s, resource.getrusage(resource.RUSAGE_SELF)
    waits.sort()
    spec.write(
        {
            "per_s": count / took_s,
            "p50_s": waits[len(waits) // 2],
            "p99_s": waits[int(len(waits) * 0.99)],
            "longest_s": waits[-1],
            "server_cpu_s": server_s / count,
            "client_cpu_s": (used.ru_utime + used.ru_stime - own.ru_utime - own.ru_stime) / count,
            "spans": count,
        }
    )


if __name__ == "__main__":
    asyncio.run(main())
