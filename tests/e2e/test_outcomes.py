"""Every way a rollout can end: the boundary that broke is named, and nothing false is scored."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import CapabilityFault, Fault, ModelFault
from hud._core.outcome import Outcome
from hud.agents.base import Agent
from hud.agents.run import Run
from hud.agents.types import AgentConfig
from hud.environment.task import Task
from hud.eval import LocalRuntime, Taskset, rollout
from hud.trace.steps import Step
from tests.misbehaving import env, play, task
from tests.rollouts import (
    Counting,
    assert_ungraded,
    echo,
    forever,
    outlast,
    recorded,
    recorded_in,
    recorded_runs,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


async def test_a_graded_run_has_a_reward_in_memory_and_in_the_store() -> None:
    run = await play(task("good"))
    assert (run.outcome, run.reward, run.is_graded) == (Outcome.GRADED, 1.0, True)
    assert (run.trace.status, run.trace.stop_reason) == ("completed", "done")
    kept = recorded(run)
    assert (kept.outcome, kept.reward, kept.stop_reason) == (Outcome.GRADED, 1.0, "done")
    assert kept.error is None


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (task("unheard_of"), "[starting task] environment 'faults' has no task 'unheard_of'"),
        (task("good", colour="red"), "[starting task] template 'good'"),
        (task("raises_in_start"), "LookupError: the shelf is empty"),
        (task("yields_nothing"), "ended without yielding a prompt"),
        (task("yields_once"), "[grading] template 'yields_once' ended without yielding a grade"),
        (task("yields_thrice"), "yielded a third time"),
        (task("no_json_prompt"), "yielded a prompt that is not JSON"),
        (task("no_message_prompt"), "no list of messages"),
        (task("huge_prompt"), "exceeds the limit of 16777216"),
        (task("grades", kind="huge"), "exceeds the limit of 16777216"),
    ],
    ids=lambda value: value.slug if isinstance(value, Task) else "",
)
async def test_what_the_environment_breaks_is_named_environment(row: Task, says: str) -> None:
    assert_ungraded(await play(row), Outcome.ENVIRONMENT, says)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("raise", "[grading] template 'grades' raised LookupError: the ruler broke"),
        ("nan", "not finite"),
        ("inf", "not finite"),
        ("text", "full marks"),
        ("none", "None"),
        ("no score", "without a numeric score"),
        ("exit", "SystemExit: 3"),
    ],
)
async def test_what_breaks_while_grading_is_named_grader(kind: str, says: str) -> None:
    assert_ungraded(await play(task("grades", kind=kind)), Outcome.GRADER, says)


async def test_a_judge_without_its_model_is_a_model_fault() -> None:
    run = await play(task("grades", kind="judge"))
    assert_ungraded(run, Outcome.MODEL, "the judge's model is down")


async def _returns_number(run: Run) -> Any:
    return 42


async def _sets_garbage(run: Run) -> None:
    run.trace.content = {"answer": object()}  # type: ignore[assignment]


async def _raises(run: Run) -> None:
    raise KeyError("tool")


async def _exits(run: Run) -> None:
    raise SystemExit("usage: agent")


async def _awaits_something_cancelled(run: Run) -> None:
    lost = asyncio.ensure_future(forever())
    lost.cancel()
    await lost


async def _talks_too_much(run: Run) -> str:
    return "\x01" * (3 << 20)  # six bytes each on the wire


def _is_not_async(run: Run) -> str:
    return "yes"


async def _groups(run: Run) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_raises(run))


class _BrokenText(Exception):
    def __str__(self) -> str:
        raise ValueError("no text either")


async def _raises_the_unprintable(run: Run) -> None:
    raise _BrokenText


async def _raises_surrogates(run: Run) -> None:
    raise ValueError("half a \ud83d character")


@pytest.mark.parametrize(
    ("agent", "says"),
    [
        (_raises, "[agent loop] KeyError: 'tool'"),
        (_returns_number, "the agent's answer is no text but int: 42"),
        (_sets_garbage, "the agent's answer is no text but dict"),
        (_exits, "SystemExit: usage: agent"),
        (_awaits_something_cancelled, "CancelledError, although nobody cancelled it"),
        (_talks_too_much, "3,145,728 characters, more than one frame"),
        (_is_not_async, "TypeError: object str can't be used in 'await' expression"),
        (_groups, "KeyError: 'tool'"),
        (_raises_the_unprintable, "[agent loop] _BrokenText"),
        (_raises_surrogates, "half a ? character"),
    ],
)
async def test_what_the_harness_breaks_is_named_agent(agent: Any, says: str) -> None:
    run = await play(task("good"), agent)
    assert_ungraded(run, Outcome.AGENT, says)


@pytest.mark.parametrize("fault", [ModelFault("429 for ever"), CapabilityFault("ssh hung up")])
@pytest.mark.parametrize("in_group", [False, True])
async def test_a_fault_an_agent_raises_keeps_its_boundary(fault: Fault, in_group: bool) -> None:
    async def fail() -> None:
        raise fault

    async def agent(run: Run) -> None:
        if not in_group:
            await fail()
        async with asyncio.TaskGroup() as group:
            group.create_task(forever())
            group.create_task(fail())

    assert_ungraded(await play(task("good"), agent), fault.outcome, fault.message)


async def test_what_an_agent_does_to_its_run_cannot_break_the_record() -> None:
    async def vandal(run: Run) -> str:
        itself: list[Any] = []
        itself.append(itself)
        run.trace.extra = {"object": object(), "half": "\ud83d", "set": {1}, "loop": itself}  # type: ignore[dict-item]
        run.trace.stop_reason = ValueError("why not")  # type: ignore[assignment]
        run.trace.trace_id = None
        run.record(Step(source="system", extra={"deep": itself}))
        return "yes"

    run = await play(task("good"), vandal)
    assert run.reward == 1.0
    [kept] = recorded_runs(run.job_id or "")
    assert (kept.outcome, kept.reward) == (Outcome.GRADED, 1.0)
    assert kept.stop_reason is not None and "why not" in kept.stop_reason


async def test_an_agent_that_answers_by_returning_its_run_or_nothing_is_graded() -> None:
    async def no_answer(run: Run) -> Any:
        return run

    run = await play(task("good"), no_answer)
    assert (run.outcome, run.reward, run.trace.content) == (Outcome.GRADED, 0.0, None)


async def test_the_agents_own_time_limit_is_graded_on_what_it_left() -> None:
    async def slow(run: Run) -> None:
        run.trace.content = "yes"
        await outlast(10)

    row = task("good")
    row.agent_config = {"timeout_seconds": 10}
    run = await play(row, slow, rollout_timeout=60)
    assert (run.reward, run.trace.stop_reason) == (1.0, "timeout")
    assert run.trace.is_truncated
    assert recorded(run).stop_reason == "timeout"


@pytest.mark.parametrize("reaction", ["returns", "raises"])
async def test_how_an_agent_reacts_to_its_time_limit_changes_nothing(reaction: str) -> None:
    async def clumsy(run: Run) -> str | None:
        try:
            await outlast(10)
        except asyncio.CancelledError:
            run.trace.content = "yes"
            if reaction == "raises":
                raise OSError("interrupted") from None
        return None

    row = task("good")
    row.agent_config = {"timeout_seconds": 10}
    run = await play(row, clumsy)
    assert (run.reward, run.trace.stop_reason) == (1.0, "timeout")


async def test_an_agents_own_timeout_error_is_not_its_time_limit() -> None:
    async def impatient(run: Run) -> None:
        async with asyncio.timeout(0):
            await forever()

    row = task("good")
    row.agent_config = {"timeout_seconds": 60}
    assert_ungraded(await play(row, impatient), Outcome.AGENT, "TimeoutError")


class _Configured(Agent):
    def __init__(self) -> None:
        super().__init__(AgentConfig(timeout_seconds=30))

    async def __call__(self, run: Run) -> str:
        return "yes"


@pytest.mark.parametrize(
    ("agent_s", "rollout_s", "says"),
    [
        (5, 5, r"timeout_seconds \(5\) must be below rollout_timeout \(5\)"),
        (5, 1, "must be below"),
        ("5", None, "must be positive seconds, not '5'"),
        (True, None, "must be positive seconds"),
        (-1, None, "must be positive seconds"),
        (math.nan, None, "must be positive seconds"),
        (None, 0, "rollout_timeout must be positive seconds, not 0"),
    ],
)
async def test_time_limits_that_cannot_be_meant_are_refused_up_front(
    agent_s: Any, rollout_s: float | None, says: str
) -> None:
    row = task("good")
    row.agent_config = {"timeout_seconds": agent_s}
    provider = Counting(LocalRuntime(env))
    with pytest.raises(ValueError, match=says):
        await rollout(row, echo, runtime=provider, rollout_timeout=rollout_s)
    with pytest.raises(ValueError, match=says):
        await Taskset([row]).run(echo, runtime=provider, rollout_timeout=rollout_s)
    assert provider.entered == 0


async def test_a_configured_agents_limit_counts_unless_the_row_has_its_own() -> None:
    with pytest.raises(ValueError, match="must be below"):
        await play(task("good"), _Configured(), rollout_timeout=20)
    row = task("good")
    row.agent_config = {"timeout_seconds": 10}
    assert (await play(row, _Configured(), rollout_timeout=20)).reward == 1.0


# -- what a job says of it -------------------------------------------------------------------


async def test_ungraded_runs_never_count_as_zero() -> None:
    rows = [task("good"), task("raises_in_start"), task("grades", kind="nan")]
    job = await Taskset("mixed", rows).run(echo, runtime=LocalRuntime(env), group=2)
    assert job.reward == 1.0
    assert len(job.errors) == 4
    assert {run.outcome for run in job.errors} == {Outcome.ENVIRONMENT, Outcome.GRADER}
    assert [len(runs) for runs in job.results.values()] == [2, 2, 2]
    assert math.isnan(sum(run.reward for run in job.runs))
    said = job.statistics()
    assert (said.mean, said.graded, said.ungraded) == (1.0, 2, 4)
    assert said.ungraded_by_cause == {"environment": 2, "grader": 2}


async def test_a_job_of_nothing_but_failures_has_no_reward() -> None:
    job = await Taskset([task("raises_in_start")]).run(echo, runtime=LocalRuntime(env))
    assert math.isnan(job.reward)
