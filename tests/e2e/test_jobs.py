"""Jobs of many rollouts: tried again where that is fair, bounded, stopped, and their batches."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from hud import Environment
from hud._core.errors import (
    AgentFault,
    CapabilityFault,
    Fault,
    ModelFault,
    RuntimeFault,
    StoreError,
)
from hud._core.outcome import Outcome
from hud.agents.base import as_agent
from hud.agents.run import Run
from hud.environment.task import Task
from hud.eval import Job, LocalRuntime, Runtime, Taskset, group_relative
from hud.eval.recording import default_sinks, default_store
from hud.eval.schedule import Options, Stop
from hud.store import open_store
from hud.trace.sinks import Event, RunEnded, Sink, StepRecorded
from tests.rollouts import Counting, Gate, echo, forever, leap, recorded_in, recorded_runs
from tests.saying import DEADLINE_S, Failing, Steps, Watcher, env, options, say, words


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


# -- retries ---------------------------------------------------------------------------------


async def test_runtime_model_and_capability_faults_are_tried_again_and_every_attempt_kept() -> None:
    agent = Failing([ModelFault("429"), CapabilityFault("ssh hung up"), RuntimeFault("gone")])
    watcher = Watcher()
    job = await words(1).run(agent, group=2, options=options(retries=3, observer=watcher))
    assert [(run.reward, run.attempt) for run in job.runs] == [(1.0, 4), (1.0, 4)]
    assert (len(job.attempts), len(watcher.retried), len(watcher.ended_runs)) == (6, 6, 8)
    kept = [(run.member, run.attempt, run.outcome) for run in recorded_runs(job.id)]
    once = [Outcome.MODEL, Outcome.CAPABILITY, Outcome.RUNTIME, Outcome.GRADED]
    assert kept == [(m, n, once[n - 1]) for m in (0, 1) for n in (1, 2, 3, 4)]
    assert len({run.id for run in recorded_runs(job.id)}) == 8


@pytest.mark.parametrize("error", [AgentFault("own bug"), ValueError("own bug")])
async def test_other_outcomes_are_not_tried_again(error: Exception) -> None:
    agent = Failing([error])
    job = await words(1).run(agent, options=options(retries=3))
    assert ([run.outcome for run in job.runs], agent.calls.total()) == ([Outcome.AGENT], 1)
    job = await Taskset([say(broken=True)]).run(echo)
    assert [run.outcome for run in job.runs] == [Outcome.ENVIRONMENT]
    assert job.attempts == []


async def test_a_low_grade_is_never_tried_again() -> None:
    async def wrong(run: Run) -> str:
        return "wrong"

    job = await words(3).run(wrong, options=options(retries=3))
    assert (job.reward, len(job.runs), job.attempts) == (0.0, 3, [])


async def test_a_source_that_cannot_be_used_is_not_tried_again(tmp_path: Path) -> None:
    source = tmp_path / "env.py"
    source.write_text("import nothing_of_that_name\n")
    provider = Counting(LocalRuntime(source))
    row = Task(env="say", id="say")
    job = await Taskset([row]).run(echo, runtime=provider, options=options(retries=3))
    assert ([run.outcome for run in job.runs], provider.entered) == ([Outcome.ENVIRONMENT], 1)
    assert "env.py line 1 raised ModuleNotFoundError" in (job.runs[0].trace.error or "")


async def test_retries_run_out() -> None:
    agent = Failing([ModelFault(f"down {n}") for n in range(9)])
    job = await words(1).run(agent, options=options(retries=2))
    assert [run.trace.error for run in job.attempts] == [
        "[agent loop] down 0",
        "[agent loop] down 1",
    ]
    assert [(run.attempt, run.outcome) for run in job.runs] == [(3, Outcome.MODEL)]


async def test_a_stop_ends_the_pause_before_a_retry() -> None:
    stop = Stop()
    watcher = Watcher(on_end=lambda run: stop.request())
    agent = Failing([ModelFault("down")])
    async with asyncio.timeout(DEADLINE_S):
        job = await words(1).run(
            agent, options=Options(retries=1, backoff_s=3600, observer=watcher, stop=stop)
        )
    assert [(run.outcome, run.attempt) for run in job.runs] == [(Outcome.MODEL, 1)]
    assert job.attempts == []


async def test_a_cancellation_in_the_pause_before_a_retry_loses_no_run() -> None:
    ended = asyncio.Event()
    job = await Job.start("words")
    settings = Options(retries=1, backoff_s=3600, observer=Watcher(lambda run: ended.set()))
    agent = Failing([ModelFault("down")])
    work = asyncio.create_task(words(1).run(agent, job=job, options=settings))
    await ended.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [(run.outcome, run.attempt) for run in job.runs] == [(Outcome.MODEL, 1)]


@pytest.mark.parametrize(
    "wrong", [{"max_concurrent": 0}, {"retries": -1}, {"backoff_s": float("nan")}]
)
def test_options_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Options(**wrong)


# -- concurrency -----------------------------------------------------------------------------


async def test_a_group_of_sixteen_runs_all_at_once_on_one_live_environment() -> None:
    barrier = asyncio.Barrier(32)

    async def agent(run: Run) -> str:
        async with asyncio.timeout(DEADLINE_S), barrier:
            return await echo(run)

    job = await Taskset(say(word=w) for w in ("one", "two")).run(agent, group=16)
    assert job.reward == 1.0
    assert [len(runs) for runs in job.results.values()] == [16, 16]
    for runs in job.results.values():
        assert [run.member for run in runs] == list(range(16))
        assert len({run.group_id for run in runs}) == 1
        assert len({run.trace_id for run in runs}) == 16
        advantages = group_relative([r.reward for r in runs], normalize_std=True)
        assert advantages == [0.0] * 16, "all of them equally good"
    assert len({run.group_id for run in job.runs}) == 2


async def test_no_more_than_max_concurrent_run_at_once_and_that_many_do() -> None:
    running, most = 0, 0
    barrier = asyncio.Barrier(3)

    async def agent(run: Run) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        async with asyncio.timeout(DEADLINE_S), barrier:
            running -= 1
            return await echo(run)

    provider = Counting(LocalRuntime(env))
    job = await words(12).run(agent, runtime=provider, max_concurrent=3)
    assert (most, job.reward, provider.entered, provider.is_even) == (3, 1.0, 12, True)


async def test_a_slow_rollout_does_not_hold_up_the_others() -> None:
    gate = Gate()
    done = 0

    async def agent(run: Run) -> str:
        nonlocal done
        if run.slug == "slow":
            await gate()
        else:
            done += 1
            if done == 20:
                gate.opened.set()
        return await echo(run)

    slow = say()
    slow.slug = "slow"
    job = await Taskset("mixed", [slow, *words(20)]).run(agent, max_concurrent=2)
    assert (job.reward, job.runs[-1].slug) == (1.0, "slow")


# -- stopping --------------------------------------------------------------------------------


async def test_the_first_stop_starts_nothing_new_and_lets_what_runs_finish() -> None:
    stop, gate = Stop(), Gate()

    async def agent(run: Run) -> str:
        await gate()
        return await echo(run)

    work = asyncio.create_task(words(10).run(agent, options=options(max_concurrent=2, stop=stop)))
    await gate.reached.wait()
    stop.request()
    gate.opened.set()
    job = await work
    assert ([run.reward for run in job.runs], job.reward) == ([1.0, 1.0], 1.0)
    assert default_store().find_job(job.id).status == "cancelled"
    assert len(recorded_runs(job.id)) == 2


@pytest.mark.parametrize("how", ["grace", "second request"])
async def test_what_does_not_finish_after_a_stop_is_cancelled_and_kept(how: str) -> None:
    stop = Stop(grace_s=10)
    barrier = asyncio.Barrier(3)

    async def agent(run: Run) -> str:
        if run.slug == "quick":
            return await echo(run)
        await barrier.wait()
        await forever()
        return ""

    quick = say()
    quick.slug = "quick"
    provider = Counting(LocalRuntime(env))
    taskset = Taskset("mixed", [quick, *words(5)])
    work = asyncio.create_task(
        taskset.run(agent, runtime=provider, options=options(max_concurrent=2, stop=stop))
    )
    await barrier.wait()
    stop.request()
    if how == "grace":
        for _ in range(20):  # until the clock of the grace runs
            await asyncio.sleep(0)
        leap(11)
    else:
        stop.request()
    async with asyncio.timeout(DEADLINE_S):
        job = await work
    assert Counter(run.outcome for run in job.runs) == {Outcome.GRADED: 1, Outcome.CANCELLED: 2}
    assert Counter(run.outcome for run in recorded_runs(job.id)) == {
        Outcome.GRADED: 1,
        Outcome.CANCELLED: 2,
    }
    assert provider.is_even


async def test_cancelling_a_job_over_and_over_ends_every_rollout_before_it_ends() -> None:
    barrier = asyncio.Barrier(6)
    leaving = asyncio.Barrier(6)

    async def agent(run: Run) -> None:
        await barrier.wait()
        await forever()

    async def on_exit() -> None:
        await leaving.wait()

    provider = Counting(LocalRuntime(env), on_exit=on_exit)
    job = await Job.start("words")
    work = asyncio.create_task(words(5).run(agent, runtime=provider, job=job))
    await barrier.wait()
    for _ in range(5):
        work.cancel()
        await asyncio.sleep(0)
    assert not work.done()
    await leaving.wait()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [run.outcome for run in job.runs] == [Outcome.CANCELLED] * 5
    assert provider.is_even
    assert default_store().find_job(job.id).status == "cancelled"


# -- the store fails -------------------------------------------------------------------------


class FullDisk:
    """A sink that takes so many events of a kind, and no more."""

    def __init__(self, kind: type[Event], room: int) -> None:
        self.kind = kind
        self.room = room
        self.is_full = False

    def put(self, event: Event) -> None:
        if isinstance(event, self.kind):
            self.room -= 1
            if self.room < 0:
                self.is_full = True
                raise StoreError("the disk is full")

    async def committed(self) -> None:
        if self.is_full:
            raise StoreError("the disk is full")

    async def aclose(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("kind", [StepRecorded, RunEnded])
async def test_a_store_that_fails_ends_the_job_with_its_own_sentence(
    kind: type[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sinks() -> tuple[Sink, ...]:
        return (*default_sinks(), FullDisk(kind, 25))

    monkeypatch.setattr("hud.eval.running.default_sinks", sinks)
    provider = Counting(LocalRuntime(env))
    watcher = Watcher()
    job = await Job.start("words")
    settings = options(retries=2, max_concurrent=4, observer=watcher)
    with pytest.raises(StoreError, match="the disk is full"):
        await words(100).run(echo, runtime=provider, job=job, options=settings)
    assert provider.is_even
    assert len(watcher.began) < 100
    kept = {run.id: run for run in recorded_runs(job.id)}
    graded = [run for run in watcher.ended_runs if run.is_graded]
    assert graded, "some were graded before"
    for run in graded:
        assert kept[run.trace_id or ""].reward == 1.0
    assert default_store().find_job(job.id).status == "interrupted"


async def test_an_agent_that_swallows_the_stores_error_does_not_hide_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hud.trace.steps import Step

    async def careless(run: Run) -> str:
        with contextlib.suppress(Exception):
            run.record(Step(source="agent"))
        return await echo(run)

    monkeypatch.setattr(
        "hud.eval.running.default_sinks", lambda: (*default_sinks(), FullDisk(StepRecorded, 2))
    )
    with pytest.raises(StoreError, match="the disk is full"):
        await words(1).run(careless)


async def test_a_full_disk_ends_the_job_and_loses_nothing_that_was_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.e2e.test_store_faults import mounted

    with mounted(tmp_path / "disk", "size=3m") as small:
        monkeypatch.setenv("HUD_HOME", str(small))
        noise = random.Random(1)
        watcher = Watcher()

        async def agent(run: Run) -> str:
            from hud.trace.steps import AgentStep

            run.record(AgentStep(content=noise.randbytes(20_000).hex()))
            return await echo(run)

        job = await Job.start("words")
        settings = options(observer=watcher, max_concurrent=2)
        with pytest.raises(StoreError, match=r"full|no space|room"):
            await words(500).run(agent, job=job, options=settings)
        assert watcher.ended_runs
        copy = tmp_path / "copy"
        shutil.copytree(small, copy)
        store = open_store(copy)
        for run in watcher.ended_runs:
            assert store.find_run(run.trace_id or "").outcome is run.outcome
        store.close()
        for file in small.glob("blobs/**/*"):  # make room, so that the rest can be written
            if file.is_file():
                file.unlink()
        from hud.eval.recording import close_stores

        with contextlib.suppress(StoreError):
            close_stores()


# -- one job, several batches ----------------------------------------------------------------


async def test_a_job_takes_further_batches_and_counts_every_run() -> None:
    job = await Job.start("training", group=2)
    for _ in range(3):
        batch = await words(2).run(echo, job=job)
        assert batch is job
    assert [len(runs) for runs in job.results.values()] == [6, 6]
    for runs in job.results.values():
        assert [run.member for run in runs] == list(range(6))
        assert len({run.group_id for run in runs}) == 3
    record = default_store().find_job(job.id)
    counts = default_store().summarise(record).counts
    assert (counts.runs, counts.graded, record.status) == (12, 12, "completed")


async def test_batches_of_one_job_may_overlap() -> None:
    barrier = asyncio.Barrier(4)

    async def agent(run: Run) -> str:
        async with asyncio.timeout(DEADLINE_S), barrier:
            return await echo(run)

    job = await Job.start("training")
    await asyncio.gather(
        *(row.run(as_agent(agent), job=job) for row in [*words(3), say(word="w0")])
    )
    assert (len(job.runs), job.reward) == (4, 1.0)
    assert len({(run.slug, run.member) for run in job.runs}) == 4
    assert default_store().find_job(job.id).status == "completed"


async def test_tasks_of_two_live_environments_run_together_even_under_one_name() -> None:
    other = Environment(name="say")

    @other.template()
    async def shout(word: str) -> Steps:
        answer = yield f"shout {word.upper()}"
        yield float(answer == word.upper())

    third = Environment(name="third")

    @third.template()
    async def whisper() -> Steps:
        yield "?"
        yield 0.5

    job = await Taskset("three", [say(), shout(word="hey"), whisper()]).run(echo, group=2)
    rewards = {
        slug.split("-")[0]: [run.reward for run in runs] for slug, runs in job.results.items()
    }
    assert rewards == {"say": [1.0, 1.0], "shout": [1.0, 1.0], "whisper": [0.5, 0.5]}


async def test_tasks_that_are_only_data_need_a_runtime_and_are_named() -> None:
    row = Task(env="say", id="say", slug="just-data")
    with pytest.raises(ValueError, match="task 'just-data' is only data: say where to run it"):
        await Taskset("mixed", [say(), row]).run(echo)
    assert default_store().list_jobs() == []


async def test_a_fault_of_one_sort_ends_no_other_rollout() -> None:
    faults: dict[int, Fault | None] = {0: ModelFault("m"), 1: None, 2: AgentFault("a"), 3: None}

    async def agent(run: Run) -> str:
        fault = faults[run.member]
        if fault is not None:
            raise fault
        return await echo(run)

    job = await words(1).run(agent, group=4)
    outcomes = [run.outcome for run in job.results[next(iter(job.results))]]
    assert outcomes == [Outcome.MODEL, Outcome.GRADED, Outcome.AGENT, Outcome.GRADED]


async def test_an_address_is_a_provider_and_serves_many_at_once() -> None:
    from hud.environment.server import bind

    async with bind(env) as url:
        job = await words(10).run(echo, runtime=Runtime(url), group=2)
    assert (job.reward, len(job.runs)) == (1.0, 20)
    assert {run.runtime for run in job.runs} == {url}
