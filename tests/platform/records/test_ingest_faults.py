"""Nothing that was acknowledged is lost: by a server that is killed, or on a disk that is full."""

from __future__ import annotations

import asyncio
import itertools
import random
import resource
import socket
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from hud._core.ids import new_id
from hud.store import open_store
from tests.platform.server import DEADLINE_S, Server, prepare, running
from tests.platform.spans import span, step, upload_path

SENDERS = 4
KILLS, KILLS_SOAKING = 4, 100


class Sender:
    """Uploads spans as a client does: what is not acknowledged is sent again."""

    def __init__(self, server: Server, key: str) -> None:
        self.server = server
        self.headers = {"Authorization": f"Bearer {key}"}
        self.acknowledged: dict[str, set[str]] = defaultdict(set)
        self.sent_again = 0
        self.uploads = 0
        self._awaited = 0
        self._reached = asyncio.Event()

    async def uploaded(self, more: int) -> None:
        """Wait until so many more uploads are acknowledged."""
        self._awaited = self.uploads + more
        self._reached.clear()
        await self._reached.wait()

    async def send(self, client: httpx.AsyncClient, path: str, body: Any) -> None:
        while True:
            try:
                answer = await client.post(
                    f"{self.server.url}{path}", json=body, headers=self.headers
                )
            except httpx.TransportError:
                self.sent_again += 1
                await asyncio.sleep(0.02)  # the server is being started again
                continue
            assert answer.status_code == 200, answer.text
            return

    async def run(self, until: asyncio.Event) -> None:
        async with httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False) as client:
            while not until.is_set():
                job, run = new_id(), new_id()
                numbers = itertools.count(1)
                for _ in range(5):
                    spans = [step(run, next(numbers), {"usage": {"prompt_tokens": 1}})]
                    spans += [step(run, next(numbers), source="tool") for _ in range(19)]
                    spans.append(span(run, "debug"))
                    await self.send(client, upload_path(run), {"telemetry": spans})
                    self.uploads += 1
                    if self.uploads >= self._awaited:
                        self._reached.set()
                    self.acknowledged[run].update(each["span_id"] for each in spans)
                await self.send(client, f"/v2/trace/{run}/enter", {"job_id": job, "task_slug": "t"})
                body = {"status": "completed", "evaluation_result": {"score": 1.0}}
                await self.send(client, f"/v2/trace/{run}/exit", body)
                self.acknowledged[run].add("graded")


async def kill_under_load(home: Path, kills: int) -> None:
    with running(home) as server:
        sender = Sender(server, server.key())
        until = asyncio.Event()
        dice = random.Random(kills)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(SENDERS):
                tasks.create_task(sender.run(until))
            for _ in range(kills):
                await sender.uploaded(dice.randrange(1, 12))
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            until.set()
    check_kept(home, sender.acknowledged)


def check_kept(home: Path, acknowledged: dict[str, set[str]]) -> None:
    assert acknowledged
    store = open_store(home)
    try:
        for run_id, wanted in acknowledged.items():
            steps = list(store.read_steps(run_id))
            spans = store.read_debug_spans(run_id)
            kept = {each.span_id for each in [*steps, *spans]}
            assert wanted - {"graded"} <= kept
            assert [each.seq for each in steps] == list(range(1, len(steps) + 1))
            run = store.find_run(run_id)
            assert run.turns == run.prompt_tokens == len(steps) // 20
            assert ("graded" in wanted) <= (run.reward == 1.0)
    finally:
        store.close()


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(home: Path) -> None:
    await kill_under_load(home, KILLS)


@pytest.mark.soak
async def test_nothing_acknowledged_is_lost_in_many_kills(home: Path) -> None:
    await kill_under_load(home, KILLS_SOAKING)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit of file sizes here")
def test_a_full_disk_is_one_clear_sentence_and_reading_goes_on(home: Path) -> None:
    prepare(home)
    with running(home) as server:
        key = server.key()
        run = new_id()
        with server.client(key) as client:
            body = {"telemetry": [step(run, 1, {"content": "first"})]}
            assert client.post(upload_path(run), json=body).status_code == 200
            size = sum(each.stat().st_size for each in home.rglob("hud.db*"))
            # No file may grow any more: what the kernel then says is what a full disk says.
            assert server.process is not None
            limit = (size + 64 * 1024, resource.RLIM_INFINITY)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limit)
            text = "x" * 60_000
            refused = None
            for number in range(2, 400):
                body = {"telemetry": [step(run, number, {"content": text})]}
                answer = client.post(upload_path(run), json=body)
                if answer.status_code != 200:
                    refused = answer
                    break
            assert refused is not None
            assert (refused.status_code, refused.json()["code"]) == (503, "store")
            assert refused.json()["detail"]
            shown = client.get(f"/v2/trace/{run}/steps", params={"limit": 1})
            assert shown.json()["items"][0]["payload"]["content"] == "first"
            assert client.get("/v2/jobs").status_code == 200
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
            assert client.post(upload_path(run), json=body).status_code == 200
            kept = client.get(f"/v2/trace/{run}/steps", params={"limit": 1000}).json()["items"]
            assert body["telemetry"][0]["span_id"] in {each["span_id"] for each in kept}


def test_a_client_that_goes_away_in_the_middle_leaves_nothing_behind(home: Path) -> None:
    with running(home) as server:
        key = server.key()
        run = new_id()
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port)) as one:
                head = (
                    f"POST {upload_path(run)} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                    f"Authorization: Bearer {key}\r\nContent-Length: 100000\r\n\r\n"
                )
                one.sendall(head.encode() + b'{"telemetry": [')
        with server.client(key) as client:
            assert client.get(f"/v2/trace/{run}").status_code == 404
            assert client.get("/healthz").status_code == 200
        assert server.stop() == 0
        assert "Traceback" not in server.said()
