"""A platform that is down, slow, forgetful or hostile costs an eval nothing and loses nothing."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from hud import Environment, Taskset
from hud._core import json
from hud._core.outcome import Outcome
from hud.agents.run import Run
from hud.eval.recording import default_store
from hud.eval.reporting.sink import end_reporters
from hud.trace.steps import AgentStep
from tests.platform_server import FakePlatform
from tests.rollouts import echo, recorded, recorded_runs

env = Environment(name="reported")


@env.template()
async def say(word: str = "yes") -> AsyncGenerator[Any, Any]:
    answer = yield f"say {word}"
    yield float(answer == word)


def words(count: int) -> Taskset:
    return Taskset("words", [say(word=str(index)) for index in range(count)])


def stored(run_id: str) -> list[dict[str, Any]]:
    return [json.decode(step.payload) for step in default_store().read_steps(run_id)]


def assert_all_arrived(platform: FakePlatform, job_id: str) -> None:
    runs = recorded_runs(job_id)
    assert runs
    for run in runs:
        told = platform.runs[run.id]
        assert told.steps == stored(run.id)
        assert [exit["status"] for exit in told.exits] == [run.status]


def reporters() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "hud-reporter"]


async def test_what_a_platform_that_is_down_missed_the_next_eval_sends(
    home: Path, platform: FakePlatform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.stop()
    missed = await words(5).run(echo, group=2)
    assert [run.reward for run in missed.runs] == [1.0] * 10
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "10 runs (30 steps)" in said[0] and "hud push" in said[0]
    assert not reporters()
    platform.start()
    fresh = await words(1).run(echo)
    assert_all_arrived(platform, missed.id)
    assert_all_arrived(platform, fresh.id)


async def test_a_new_process_sends_what_an_earlier_one_could_not(
    home: Path, platform: FakePlatform
) -> None:
    platform.stop()
    missed = await words(3).run(echo)
    end_reporters(0.0)  # nothing of it is left in memory
    platform.start()
    await words(1).run(echo)
    assert_all_arrived(platform, missed.id)
    asked = len(platform.requests)
    end_reporters(0.0)
    await words(1).run(echo)
    assert len(platform.requests) - asked <= 5, "what arrived is not sent again"


async def test_a_platform_that_comes_back_gets_the_rest_meanwhile(
    home: Path, platform: FakePlatform
) -> None:
    going, ended = asyncio.Event(), asyncio.Event()

    async def agent(run: Run) -> str:
        run.record(AgentStep(content="before"))
        await asyncio.to_thread(platform.until, lambda: bool(platform.runs))
        platform.stop()
        for index in range(250):
            run.record(AgentStep(content=f"while it is down {index}"))
        going.set()
        await ended.wait()
        return await echo(run)

    running = asyncio.ensure_future(say().run(agent))
    await going.wait()
    platform.start()
    [run_id] = platform.runs

    def caught_up() -> bool:
        return len(platform.runs[run_id].spans) >= 253

    await asyncio.to_thread(platform.until, caught_up)
    ended.set()
    job = await running
    assert_all_arrived(platform, job.id)


async def test_what_was_taken_and_not_acknowledged_is_sent_again_and_is_the_same(
    home: Path, platform: FakePlatform
) -> None:
    failures = iter([503, 500, 502, 503] * 3)

    def lose(method: str, path: str, body: Any) -> tuple[int, Any] | None:
        # It takes the report and the answer is lost.
        answer = platform.refuse
        platform.refuse = None
        platform.answer(method, path, body, f"Bearer {platform.key}")
        platform.refuse = answer
        status = next(failures, None)
        return None if status is None else (status, {"detail": "lost"})

    platform.refuse = lose
    job = await words(4).run(echo)
    end_reporters(5.0)
    platform.refuse = None
    await words(1).run(echo)
    for run in job.runs:
        told = platform.runs[run.trace_id or ""]
        assert told.steps == stored(run.trace_id or "")
        assert len(told.spans) == len(run.trace)
        assert {exit["reward"] for exit in told.exits} == {1.0}


async def test_a_refused_key_is_said_once_and_the_eval_goes_on(
    home: Path,
    platform: FakePlatform,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("HUD_API_KEY", "another-key-0123456789")
    job = await words(20).run(echo)
    assert [run.reward for run in job.runs] == [1.0] * 20
    said = [record.message for record in caplog.records if "refused the key" in record.message]
    assert len(said) == 1
    assert "another-key" not in caplog.text
    assert len(platform.requests) <= 8
    assert not reporters()


async def test_an_address_that_never_answers_does_not_hold_an_eval(
    home: Path, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hud.eval.recording.FAREWELL_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HUD_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        job = await words(2).run(echo)
    assert [run.reward for run in job.runs] == [1.0] * 2
    assert not reporters()


async def test_something_else_at_the_address_is_no_platform(
    home: Path, platform: FakePlatform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.replies = [(200, {}, b"<html>welcome</html>")]
    job = await words(3).run(echo)
    assert len(job.errors) == 0
    assert "with JSON" in caplog.text


async def test_a_wrong_place_for_spans_is_said_once(
    home: Path,
    platform: FakePlatform,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("HUD_TELEMETRY_URL", f"{platform.url}/nowhere")
    job = await words(20).run(echo)
    assert len(job.errors) == 0
    said = [one for one in caplog.records if "nothing more is reported" in one.message]
    assert len(said) == 1
    assert "/nowhere" in said[0].message


async def test_runs_that_are_refused_are_said_a_few_times_only(
    home: Path, platform: FakePlatform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.refuse = lambda method, path, body: (
        (409, {"detail": "not like this"}) if path.endswith("/exit") else None
    )
    job = await words(20).run(echo)
    assert len(job.errors) == 0
    said = [one for one in caplog.records if "not like this" in one.message]
    assert len(said) == 5


async def test_a_step_that_is_refused_holds_back_no_other(
    home: Path, platform: FakePlatform, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(method: str, path: str, body: Any) -> tuple[int, Any] | None:
        if path.endswith("telemetry-upload") and "poison" in str(body):
            return 413, {"detail": "too large"}
        return None

    platform.refuse = refuse

    async def agent(run: Run) -> str:
        for index in range(40):
            run.record(AgentStep(content="poison" if index == 17 else str(index)))
        return await echo(run)

    run = (await say().run(agent)).runs[0]
    told = platform.runs[run.trace_id or ""]
    assert len(told.steps) == len(run.trace) - 1
    assert told.exits[0]["reward"] == 1.0
    assert "does not take a step" in caplog.text


async def test_a_run_cancelled_on_the_platform_ends_and_the_others_go_on(
    home: Path, platform: FakePlatform
) -> None:
    async def agent(run: Run) -> str:
        if run.prompt_text == "say 0":
            platform.cancel = {"cancel": [run.trace_id], "unknown": 1}
            run.record(AgentStep(content="now"))
            await asyncio.Event().wait()
        return await echo(run)

    job = await words(4).run(agent, max_concurrent=1)
    assert [run.outcome for run in job.runs] == [Outcome.CANCELLED, *[Outcome.GRADED] * 3]
    cancelled = job.runs[0]
    assert "cancelled on the platform" in (cancelled.trace.error or "")
    assert recorded(cancelled).status == "cancelled"
    [left] = platform.runs[cancelled.trace_id or ""].exits
    assert (left["status"], left["outcome"]) == ("cancelled", "cancelled")
    assert "reward" not in left
    assert default_store().find_job(job.id).status == "completed"


async def test_a_job_cancelled_on_the_platform_ends_cleanly(
    home: Path, platform: FakePlatform
) -> None:
    async def agent(run: Run) -> str:
        if run.prompt_text == "say 2":
            platform.cancel = {"cancel_job": True}
            run.record(AgentStep(content="now"))
            await asyncio.Event().wait()
        return await echo(run)

    job = await words(6).run(agent, max_concurrent=1)
    assert [run.outcome for run in job.runs] == [*[Outcome.GRADED] * 2, Outcome.CANCELLED]
    assert job.ended_early == "cancelled on the platform"
    assert default_store().find_job(job.id).status == "cancelled"
    assert_all_arrived(platform, job.id)


async def test_a_job_that_says_nothing_hears_of_its_cancellation(
    home: Path, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hud.eval.reporting.reporter.SIGN_OF_LIFE_S", 0.1)

    async def agent(run: Run) -> str:
        await asyncio.to_thread(platform.until, lambda: bool(platform.runs))
        told = platform.runs[run.trace_id or ""]
        await asyncio.to_thread(platform.until, lambda: len(told.spans) == 2)
        platform.cancel = {"cancel_job": True}
        await asyncio.Event().wait()
        return ""

    job = await say().run(agent)
    assert job.runs[0].outcome == Outcome.CANCELLED


async def test_cancelling_the_eval_itself_still_reports_it(
    home: Path, platform: FakePlatform
) -> None:
    started = asyncio.Event()

    async def agent(run: Run) -> str:
        started.set()
        await asyncio.Event().wait()
        return ""

    running = asyncio.ensure_future(say().run(agent))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    [told] = platform.runs.values()
    assert told.exits[0]["status"] == "cancelled"
    assert not reporters()


async def test_a_file_of_what_was_sent_that_cannot_be_used_costs_a_repetition(
    home: Path, platform: FakePlatform, caplog: pytest.LogCaptureFixture
) -> None:
    home.mkdir(mode=0o700)
    (home / "sent.db").write_bytes(b"this is no database" * 100)
    job = await words(2).run(echo)
    assert_all_arrived(platform, job.id)
    assert len([one for one in caplog.records if "cannot be remembered" in one.message]) == 1


async def test_many_rollouts_at_once_all_arrive(home: Path, platform: FakePlatform) -> None:
    job = await words(150).run(echo, group=2, max_concurrent=100)
    end_reporters(30.0)
    assert_all_arrived(platform, job.id)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
async def test_under_random_faults_everything_arrives_once(
    home: Path, platform: FakePlatform, seed: int
) -> None:
    chance = random.Random(seed)

    def misbehave(method: str, path: str, body: Any) -> tuple[int, Any] | None:
        what = chance.random()
        if what < 0.15:
            return chance.choice([500, 502, 503, 429]), {"detail": "not now"}
        if what < 0.3:  # taken, and the answer is lost
            platform.refuse = None
            platform.answer(method, path, body, f"Bearer {platform.key}")
            platform.refuse = misbehave
            return 503, {"detail": "lost"}
        return None

    async def agent(run: Run) -> str:
        for index in range(chance.randrange(300)):
            run.record(AgentStep(content=f"{index}"))
            if chance.random() < 0.05:
                await asyncio.sleep(0)
        if chance.random() < 0.05:
            platform.stop()
            platform.start()
        return await echo(run)

    platform.refuse = misbehave
    jobs = [await words(15).run(agent, group=2) for _ in range(3)]
    jobs += await asyncio.gather(*(words(10).run(agent) for _ in range(4)))
    end_reporters(0.0)
    platform.refuse = None
    await words(1).run(echo)
    end_reporters(60.0)
    for job in jobs:
        for run in recorded_runs(job.id):
            told = platform.runs[run.id]
            assert told.steps == stored(run.id)
            assert {exit["reward"] for exit in told.exits} == {run.reward}
    assert not reporters()
