"""What is recorded shows up in live streams: of this server, and of a process beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud._core.paths import make_home
from hud.platform import streams
from hud.platform.config import PlatformConfig
from hud.platform.event_stream import HEARTBEAT
from hud.platform.live import Live
from hud.platform.seen import SeenSteps
from hud.platform.services import Services
from hud.store import JobEnd, JobRow, RunEnd, RunStart, StepRow, Store, open_store
from tests.platform.server import DEADLINE_S, Server, running
from tests.platform.spans import step, upload_path

DATABASES = ("sqlite", "postgres")


class Stream:
    """Server-sent events, one after the other."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self, *kinds: str) -> tuple[str, Any, str | None]:
        """Return the next event, of one of `kinds` when they are given: kind, data and id."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(DEADLINE_S):
            async for line in self._lines:
                if line.startswith(":"):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    kind = fields["event"]
                    if not kinds or kind in kinds:
                        return kind, json.loads(fields["data"]), fields.get("id")
                    fields = {}
        raise EOFError

    async def until(self, is_it: Callable[[str, Any], bool]) -> Any:
        """Return the data of the first event that is it."""
        while True:
            kind, data, _ = await self.next()
            if is_it(kind, data):
                return data


@contextlib.asynccontextmanager
async def stream(
    server: Server, key: str, path: str, last: str | None = None
) -> AsyncGenerator[Stream]:
    headers = {"Authorization": f"Bearer {key}"}
    if last is not None:
        headers["Last-Event-ID"] = last
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S, trust_env=False) as client,
        client.stream("GET", path, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer)


@pytest.fixture
def key(server: Server) -> str:
    return server.key(team=f"team-{new_id()[:8]}")


@pytest.fixture
def client(server: Server, key: str, open_client: Any) -> httpx.Client:
    return open_client(key)


async def post(client: httpx.Client, path: str, body: Any) -> None:
    answer = await asyncio.to_thread(client.post, path, json=body)
    assert answer.status_code == 200, answer.text


async def test_a_team_hears_of_its_jobs_and_of_no_others(
    server: Server, key: str, client: httpx.Client, open_client: Any
) -> None:
    other = open_client(server.key(team="others"))
    job, run = new_id(), new_id()
    async with stream(server, key, "/v2/jobs/events") as events:
        assert (await events.next())[0] == "ready"
        await post(other, f"/v2/trace/job/{new_id()}/enter", {"name": "theirs", "group": 1})
        await post(client, f"/v2/trace/job/{job}/enter", {"name": "mine", "group": 1})
        kind, data, _ = await events.next()
        assert (kind, data["id"], data["name"]) == ("job", job, "mine")
        await post(client, f"/v2/trace/{run}/enter", {"job_id": job, "task_slug": "t"})
        await events.until(lambda _, job: job["counts"]["running"] == 1)
        grade = {"status": "completed", "evaluation_result": {"score": 1.0}}
        await post(client, f"/v2/trace/{run}/exit", grade)
        told = await events.until(lambda _, job: job["counts"]["graded"] == 1)
        assert (told["status"], told["counts"]["mean_reward"]) == ("completed", 1.0)


async def test_a_job_tells_of_its_runs(server: Server, key: str, client: httpx.Client) -> None:
    job, run = new_id(), new_id()
    await post(client, f"/v2/trace/job/{job}/enter", {"name": "j", "group": 1})
    async with stream(server, key, f"/v2/jobs/{job}/events") as events:
        assert [(await events.next())[0] for _ in range(2)] == ["job", "ready"]
        await post(client, f"/v2/trace/{run}/enter", {"job_id": job, "task_slug": "t"})
        begun = await events.until(lambda kind, _: kind == "run")
        assert (begun["id"], begun["status"]) == (run, "running")
        await post(client, f"/v2/trace/{run}/exit", {"status": "completed", "reward": 1.0})
        ended = await events.until(lambda kind, _: kind == "run")
        assert (ended["status"], ended["outcome"], ended["reward"]) == ("error", "grader", None)
        counted = await events.until(
            lambda kind, data: kind == "job" and data["counts"]["ungraded"] == {"grader": 1}
        )
        assert counted["counts"]["runs"] == 1


async def test_a_run_tells_of_its_steps_also_of_late_ones_and_goes_on_where_it_was(
    server: Server, key: str, client: httpx.Client
) -> None:
    run = new_id()

    async def upload(*numbers: int) -> None:
        await post(client, upload_path(run), {"telemetry": [step(run, one) for one in numbers]})

    await upload(1, 2, 5)
    async with stream(server, key, f"/v2/trace/{run}/live") as events:
        kinds = [await events.next() for _ in range(5)]
        assert [kind for kind, _, _ in kinds] == ["run", "step", "step", "step", "ready"]
        assert [data["seq"] for kind, data, _ in kinds if kind == "step"] == [1, 2, 5]
        await upload(4)
        await upload(7)
        late = [await events.next("step") for _ in range(2)]
        assert [data["seq"] for _, data, _ in late] == [4, 7]
        last = late[-1][2]
    await upload(3, 6)
    async with stream(server, key, f"/v2/trace/{run}/live", last) as events:
        rest = [await events.next("step") for _ in range(2)]
        assert [data["seq"] for _, data, _ in rest] == [3, 6]
        await post(client, f"/v2/trace/{run}/exit", {"status": "cancelled"})
        told = await events.until(lambda kind, data: kind == "run" and data["end_time"])
        assert told["status"] == "cancelled"


async def test_steps_with_line_breaks_are_one_event_each(
    server: Server, key: str, client: httpx.Client
) -> None:
    run = new_id()
    body = (
        '{"telemetry": [{"span_id": "aa", "attributes": {"hud.schema": "hud.step.v1",\n'
        '"hud.payload": {\r\n"source":\n"agent",\n"content": "a\\nb"\r}}}]}'
    )
    answer = await asyncio.to_thread(client.post, upload_path(run), content=body)
    assert answer.json()["accepted"] == 1
    async with stream(server, key, f"/v2/trace/{run}/live") as events:
        _, data, _ = await events.next("step")
        assert data["payload"] == {"source": "agent", "content": "a\nb"}


@pytest.fixture
def store(server: Server) -> Any:
    """Return the store of the server as another process has it open."""
    opened = open_store(server.home, database=server.database)
    yield opened
    opened.close()


async def test_what_another_process_records_beside_the_server_shows_up_too(
    server: Server, store: Store
) -> None:
    key = server.key()
    job, run, now = new_id(), new_id(), 1_790_000_000_000_000

    def put(*rows: Any) -> None:
        for row in rows:
            store.put(row)
        store.flush()

    with store.lock_job(job):
        put(JobRow(id=job, created_at=now, name="beside"))
        async with (
            stream(server, key, "/v2/jobs/events") as jobs,
            stream(server, key, f"/v2/jobs/{job}/events") as runs,
        ):
            assert [(await runs.next())[0] for _ in range(2)] == ["job", "ready"]
            assert (await jobs.next())[0] == "ready"
            await asyncio.to_thread(
                put, RunStart(id=run, job_id=job, task_slug="t", started_at=now)
            )
            told = await jobs.until(lambda _, data: data.get("counts", {}).get("runs") == 1)
            assert (told["id"], told["status"]) == (job, "running")
            async with stream(server, key, f"/v2/trace/{run}/live") as steps:
                await steps.until(lambda kind, _: kind == "ready")
                await asyncio.to_thread(
                    put, StepRow(run_id=run, seq=1, payload=b'{"source":"user"}')
                )
                assert (await steps.next("step"))[1]["seq"] == 1
            end = RunEnd(
                id=run,
                job_id=job,
                status="completed",
                outcome=Outcome.GRADED,
                reward=1.0,
                ended_at=time.time_ns() // 1000,
            )
            await asyncio.to_thread(put, end, JobEnd(id=job, status="completed", ended_at=now))
            ended = await runs.until(lambda kind, data: kind == "run" and data["end_time"])
            assert ended["reward"] == 1.0
            await jobs.until(lambda _, data: data.get("status") == "completed")


async def test_what_one_server_takes_in_shows_up_at_another_on_the_same_database(
    home: Path, postgres_url: str
) -> None:
    with (
        running(home, database=postgres_url) as one,
        running(home.with_name("other"), database=postgres_url) as two,
    ):
        key = one.key()
        job, run = new_id(), new_id()
        with one.client(key) as client:
            await post(client, f"/v2/trace/job/{job}/enter", {"name": "j", "group": 1})
            await post(client, f"/v2/trace/{run}/enter", {"job_id": job, "task_slug": "t"})
            async with (
                stream(two, key, "/v2/jobs/events") as jobs,
                stream(two, key, f"/v2/trace/{run}/live") as steps,
            ):
                assert (await jobs.next())[0] == "ready"
                await steps.until(lambda kind, _: kind == "ready")
                await post(client, upload_path(run), {"telemetry": [step(run, 1)]})
                assert (await steps.next("step"))[1]["seq"] == 1
                await post(client, f"/v2/trace/{run}/exit", {"status": "cancelled"})
                ended = {"cancelled": 1}
                await jobs.until(lambda _, data: data["counts"]["ungraded"] == ended)


async def test_a_server_that_stops_ends_its_streams_and_is_not_held_up(
    home: Path,
) -> None:
    with running(home) as server:
        key = server.key()
        async with (
            stream(server, key, "/v2/jobs/events") as one,
            stream(server, key, "/v2/jobs/events") as two,
        ):
            assert [(await each.next())[0] for each in (one, two)] == ["ready", "ready"]
            assert await asyncio.to_thread(server.stop) == 0
            for each in (one, two):
                with pytest.raises(EOFError):
                    await each.next()
        assert "Traceback" not in server.said()


async def test_a_stream_ends_when_its_key_is_good_no_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.01)
    services = Services.open(PlatformConfig(home=make_home(home)))
    live, answers = Live(services.store), iter((True, True, False))

    async def still_allowed() -> bool:
        return next(answers)

    try:
        async with live.running(), asyncio.timeout(DEADLINE_S):
            told = [
                one async for one in streams.follow_jobs(services, live, "local", still_allowed)
            ]
    finally:
        services.close()
    assert told == [b"event: ready\ndata: {}\n\n", HEARTBEAT, HEARTBEAT]


def test_numbers_that_were_seen_are_kept_as_ranges() -> None:
    seen = SeenSteps()
    for number in (5, 1, 2, 7, 6, 10**9, 2, 1):
        seen.add(number)
    assert str(seen) == f"1-2,5-7,{10**9}-{10**9}"
    assert [number for number in (1, 2, 3, 4, 5, 6, 7, 8) if number in seen] == [1, 2, 5, 6, 7]
    assert seen.floor == 2
    again = SeenSteps.of(str(seen))
    for number in (3, 4):
        again.add(number)
    assert (str(again), again.floor) == (f"1-7,{10**9}-{10**9}", 7)


@pytest.mark.parametrize("text", ["", "x", "5-1", "1-2,2-3", "0-4", "1-", "1-2,", "-1-2"])
def test_an_id_that_is_none_of_ours_is_as_good_as_none(text: str) -> None:
    assert str(SeenSteps.of(text)) == ""
