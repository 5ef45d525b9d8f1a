"""What an eval does is reported to the platform the settings name: all of it, and truly."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from hud import Environment, Taskset, instrument
from hud._core import json
from hud._core.errors import ModelFault
from hud._core.outcome import Outcome
from hud.agents.run import Run
from hud.eval import Job, LocalRuntime, rollout
from hud.eval.recording import default_store
from hud.trace.content import MCPToolCall, MCPToolResult, TextContent
from hud.trace.steps import AgentStep, Step, ToolStep
from tests.platform_server import FakePlatform
from tests.rollouts import echo, recorded

env = Environment(name="reported")


@env.template()
async def say(word: str = "yes") -> AsyncGenerator[Any, Any]:
    answer = yield f"say {word}"
    yield {
        "score": float(answer == word),
        "content": answer,
        "subscores": [{"name": "exact", "value": float(answer == word), "info": {"heard": answer}}],
    }


@env.template()
async def broken() -> AsyncGenerator[Any, Any]:
    yield "say anything"
    raise RuntimeError("the grader fell over")


def stored(run: Run) -> list[dict[str, Any]]:
    return [json.decode(step.payload) for step in default_store().read_steps(run.trace_id or "")]


def no_reporter_is_left() -> bool:
    return not [one for one in threading.enumerate() if one.name == "hud-reporter"]


async def talk(run: Run) -> str:
    run.record(AgentStep(content="thinking", model="some-model"))
    call = MCPToolCall(name="look", arguments={"at": "it"})
    result = MCPToolResult(content=[TextContent(type="text", text="x" * 200_000)])
    run.record(ToolStep(call=call, result=result))
    return await echo(run)


async def test_everything_a_job_did_arrives_in_order(home: Path, platform: FakePlatform) -> None:
    tasks = Taskset("words", [say(word=word) for word in ("one", "two", "three")])
    job = await tasks.run(talk, group=2)
    assert no_reporter_is_left()
    assert list(platform.jobs) == [job.id]
    begun = platform.jobs[job.id][0]
    assert begun["name"] == "words (3 tasks) (2 times)"
    assert (begun["group"], begun["taskset"], begun["runtime"]) == (2, "words", "LocalRuntime")
    assert set(platform.runs) == {run.trace_id for run in job.runs}
    for run in job.runs:
        told = platform.runs[run.trace_id or ""]
        assert told.steps == stored(run)
        [entered], [left] = told.enters, told.exits
        assert (entered["job_id"], entered["task_slug"]) == (job.id, run.slug)
        assert (entered["member"], entered["attempt"]) == (run.member, 1)
        assert (entered["env"], entered["task_id"]) == ("reported", "say")
        assert entered["task_digest"] == recorded(run).task_digest
        assert (left["status"], left["reward"], left["outcome"]) == ("completed", 1.0, "graded")
        assert left["evaluation_result"] == {
            "score": 1.0,
            "content": run.slug and run.evaluation["content"],
            "subscores": [{"name": "exact", "value": 1.0}],
        }
        assert "error" not in left


async def test_nothing_is_reported_without_a_platform_or_when_told_not_to(
    home: Path, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_TELEMETRY_ENABLED", "false")
    await say().run(echo)
    monkeypatch.setenv("HUD_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("HUD_API_KEY", "")
    await say().run(echo)
    monkeypatch.delenv("HUD_API_KEY")
    monkeypatch.delenv("HUD_API_URL")
    await say().run(echo)
    assert platform.requests == []
    assert no_reporter_is_left()


@pytest.mark.parametrize("is_foreign", [False, True])
async def test_a_run_without_a_grade_is_never_a_zero(
    home: Path, platform: FakePlatform, is_foreign: bool
) -> None:
    platform.is_foreign = is_foreign

    async def dead(run: Run) -> str:
        raise ModelFault("the model API is gone")

    runs = [(await broken().run(echo)).runs[0], (await say().run(dead)).runs[0]]
    for run, outcome in zip(runs, (Outcome.GRADER, Outcome.MODEL), strict=True):
        assert run.outcome == outcome
        [left] = platform.runs[run.trace_id or ""].exits
        assert left["status"] == "error"
        assert left["error"] == run.trace.error
        assert "evaluation_result" not in left
        if is_foreign:
            assert left["reward"] == 0.0, "theirs takes no exit without a number"
        else:
            assert "reward" not in left
            assert left["outcome"] == outcome.value


async def test_a_platform_that_takes_only_what_it_knows_gets_that(
    home: Path, platform: FakePlatform
) -> None:
    platform.is_foreign = True
    job = await Taskset("words", [say(word=str(index)) for index in range(12)]).run(talk)
    for run in job.runs:
        told = platform.runs[run.trace_id or ""]
        assert told.steps == stored(run)
        assert [exit["reward"] for exit in told.exits] == [1.0]
    refused = len(platform.paths("POST")) - len(job.runs) * 2
    assert refused < 2 * len(job.runs), "it is not asked the same way again and again"


async def test_debug_spans_arrive_beside_the_steps(home: Path, platform: FakePlatform) -> None:
    @instrument(name="thought")
    def think(about: str) -> int:
        return len(about)

    async def agent(run: Run) -> str:
        think("it")
        run.record(Step(source="system", error="the tool hung up"))
        return await echo(run)

    run = (await say().run(agent)).runs[0]
    told = platform.runs[run.trace_id or ""]
    assert "thought" in {span["name"] for span in told.spans.values()}
    assert told.steps == stored(run)
    [failed] = [span for span in told.spans.values() if span["name"] == "step.system"]
    assert (failed["status_code"], failed["status_message"]) == ("ERROR", "the tool hung up")


async def test_a_single_rollout_is_reported(home: Path, platform: FakePlatform) -> None:
    run = await rollout(say(), echo, runtime=LocalRuntime(env))
    assert platform.runs[run.trace_id or ""].exits
    assert no_reporter_is_left()


async def test_batches_of_one_job_are_one_job_there(home: Path, platform: FakePlatform) -> None:
    job = await Job.start("two batches", group=1)
    await say(word="a").run(echo, job=job)
    await say(word="b").run(echo, job=job)
    assert list(platform.jobs) == [job.id]
    assert {told.enters[0]["job_id"] for told in platform.runs.values()} == {job.id}
    assert len(platform.runs) == 2


async def test_a_step_of_many_megabytes_arrives(home: Path, platform: FakePlatform) -> None:
    async def agent(run: Run) -> str:
        for index in range(3):
            run.record(AgentStep(content=f"{index}" * 9_000_000))
        return await echo(run)

    run = (await say().run(agent)).runs[0]
    told = platform.runs[run.trace_id or ""]
    assert told.steps == stored(run)
    assert told.uploads >= 3, "no upload is larger than it must be"


async def test_no_secret_is_reported(
    home: Path, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "a-very-secret-value-1234")

    async def agent(run: Run) -> str:
        run.record(AgentStep(content="the token is a-very-secret-value-1234"))
        raise ModelFault("refused a-very-secret-value-1234")

    await say().run(agent)
    assert "a-very-secret" not in json.encode(platform.requests).decode()
    assert platform.key not in json.encode(platform.requests).decode()
