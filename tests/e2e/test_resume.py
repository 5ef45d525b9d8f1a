"""A job that was killed at any moment is taken up again without losing a grade."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import (
    InputError,
    ModelFault,
)
from hud._core.outcome import Outcome
from hud.agents.run import Run
from hud.eval import LocalRuntime, Taskset
from hud.eval.recording import default_store
from hud.eval.resume import differences, load_resume, make_spec, refuse_differences
from hud.eval.running import run_taskset
from hud.eval.schedule import Options
from tests.rollouts import Gate, echo, recorded_in, recorded_runs
from tests.saying import Failing, Watcher, options, say, words


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


KILLED = """
import asyncio, sys
from pathlib import Path
from hud.eval import LocalRuntime, Taskset, Job
from hud.eval.resume import make_spec
from hud.eval.running import run_taskset
from hud.eval.schedule import Options

source, home_job = Path(sys.argv[1]), sys.argv[2]
taskset = Taskset.from_file(source)
tasks = list(taskset)

class Tell:
    def started(self, run): pass
    def ended(self, run, *, will_retry):
        if run.is_graded:
            print(run.slug, run.member, run.trace_id, run.reward, flush=True)

async def agent(run):
    word = run.prompt_text.split()[-1]
    if word == "w59":  # so that it never ends by itself
        await asyncio.Event().wait()
    return word

spec = make_spec(source=source, files=[source], tasks=tasks, agent="echo", model=None, config={},
                 described=None, runtime="local", group=5)

asyncio.run(run_taskset("words", tasks, agent, runtime=LocalRuntime(source), group=5,
    job=Job(home_job, "words", group=5), spec=spec.to_json(),
    options=Options(max_concurrent=7, observer=Tell())))
"""

SOURCE = """
from hud import Environment
env = Environment(name="say")
@env.template()
async def say(word: str):
    answer = yield f"say {word}"
    yield float(answer == word)
tasks = [say(word=f"w{n}") for n in range(60)]
"""


@pytest.mark.parametrize("rounds", [3, pytest.param(40, marks=pytest.mark.soak, id="soak")])
async def test_a_job_killed_at_any_moment_is_resumed_without_losing_a_grade(
    rounds: int, tmp_path: Path, home: Path
) -> None:
    source = tmp_path / "say.py"
    source.write_text(SOURCE)
    chance = random.Random(11)
    for turn in range(rounds):
        job_id = f"{turn:032x}"
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", KILLED, str(source), job_id],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HUD_HOME": str(home)},
        )
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(chance.randrange(1, 250))]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        told = {line.split()[2]: line.split() for line in said if line.endswith("\n")}

        store = default_store()
        assert store.find_job(job_id).status == "interrupted"
        before = {run.id: run for run in recorded_runs(job_id)}
        for run_id, (slug, member, _, reward) in told.items():
            kept = before[run_id]
            assert (kept.task_slug, kept.member) == (slug, int(member))
            assert (kept.outcome, kept.reward) == (Outcome.GRADED, float(reward))

        resume = load_resume(store, job_id)
        assert len(resume.graded) >= len(told)
        assert len(resume.job.runs) == len(resume.graded)
        again: list[Run] = []
        tasks = list(Taskset.from_file(source))
        job = await run_taskset(
            "words",
            tasks,
            echo,
            runtime=LocalRuntime(source),
            group=5,
            job=resume.job,
            graded=resume.graded,
            attempts=resume.attempts,
            options=Options(observer=Watcher(again.append)),
        )
        assert (len(job.runs), job.reward) == (300, 1.0)
        assert {(run.slug, run.member) for run in again}.isdisjoint(resume.graded)
        for run in again:
            key = (run.slug or "", run.member)
            assert run.attempt == resume.attempts.get(key, 0) + 1
        after = {run.id: run for run in recorded_runs(job_id)}
        assert before.keys() <= after.keys()
        assert load_resume(store, job_id).is_complete
        assert store.find_job(job_id).status == "completed"


async def test_only_ungraded_members_are_run_again_with_the_next_attempt() -> None:
    taskset = words(3)
    job_id = await _recorded_job(taskset, Failing([ModelFault("down")]), group=2)
    first = load_resume(default_store(), job_id)
    assert (first.graded, set(first.attempts.values())) == (frozenset(), {1})

    async def half(run: Run) -> str:
        if run.member == 1:
            raise ModelFault("down again")
        return await echo(run)

    await _resumed(taskset, job_id, half)
    second = load_resume(default_store(), job_id)
    assert second.graded == {(slug, 0) for slug in taskset.tasks}
    assert set(second.attempts.values()) == {2}
    assert second.job.reward == 1.0
    ran = await _resumed(taskset, job_id, echo)
    assert {(run.member, run.attempt) for run in ran} == {(1, 3)}
    assert load_resume(default_store(), job_id).is_complete
    assert await _resumed(taskset, job_id, echo) == []


async def _recorded_job(taskset: Taskset, agent: Any, group: int) -> str:
    spec = make_spec(
        source=Path("words.py"),
        files=[],
        tasks=list(taskset),
        agent="echo",
        model=None,
        config={},
        described=None,
        runtime="local",
        group=group,
    )
    job = await run_taskset(
        "words", list(taskset), agent, group=group, spec=spec.to_json(), options=options()
    )
    return job.id


async def _resumed(taskset: Taskset, job_id: str, agent: Any) -> list[Run]:
    """Take a job up again; return what was run."""
    resume = load_resume(default_store(), job_id)
    watcher = Watcher()
    await run_taskset(
        "words",
        list(taskset),
        agent,
        group=resume.spec.group,
        job=resume.job,
        graded=resume.graded,
        attempts=resume.attempts,
        options=options(observer=watcher),
    )
    return watcher.ended_runs


async def test_two_resumes_of_one_job_at_once_are_one_too_many() -> None:
    taskset, gate = words(2), Gate()
    job_id = await _recorded_job(taskset, Failing([ModelFault("down")]), group=1)

    async def slow(run: Run) -> str:
        await gate()
        return await echo(run)

    first = asyncio.create_task(_resumed(taskset, job_id, slow))
    await gate.reached.wait()
    with pytest.raises(InputError, match=f"is being worked on by process {os.getpid()}"):
        await _resumed(taskset, job_id, echo)
    await default_store().committed()
    assert default_store().find_job(job_id).status == "running"
    gate.opened.set()
    assert len(await first) == 2
    assert len(recorded_runs(job_id)) == 4


async def test_a_resume_that_comes_too_late_runs_nothing_twice() -> None:
    taskset = words(2)
    job_id = await _recorded_job(taskset, Failing([ModelFault("down")]), group=1)
    stale = load_resume(default_store(), job_id)
    assert len(await _resumed(taskset, job_id, echo)) == 2
    watcher = Watcher()
    job = await run_taskset(
        "words",
        list(taskset),
        echo,
        group=1,
        job=stale.job,
        graded=stale.graded,
        attempts=stale.attempts,
        options=options(observer=watcher),
    )
    assert (watcher.began, len(job.runs), job.reward) == ([], 2, 1.0)


async def test_a_job_without_a_recorded_spec_cannot_be_resumed() -> None:
    job = await words(1).run(echo)
    with pytest.raises(InputError, match="was not started by hud eval"):
        load_resume(default_store(), job.id)


def _spec(tmp_path: Path, **changed: Any) -> Any:
    source = tmp_path / "say.py"
    source.write_text(changed.pop("text", "x = 1"))
    given: dict[str, Any] = {
        "source": source,
        "files": [source],
        "tasks": [say(word="a"), say(word="b")],
        "agent": "openai",
        "model": "m",
        "config": {"temperature": 0, "api_key": "sk-not-recorded"},
        "described": None,
        "runtime": "local",
        "group": 2,
    }
    return make_spec(**{**given, **changed})


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"text": "x = 2"}, "file say.py changed"),
        ({"tasks": [say(word="a")]}, "task say-.* is gone"),
        ({"tasks": [say(word="a"), say(word="b"), say()]}, "task say is new"),
        ({"agent": "oracle"}, "agent was openai and is now oracle"),
        ({"model": None}, "model was m and is now unset"),
        ({"group": 3}, "group was 2 and is now 3"),
        ({"runtime": "subprocess"}, "runtime was local and is now subprocess"),
        ({"rollout_timeout": 5.0}, "rollout_timeout was unset and is now 5.0"),
        ({"config": {"temperature": 1}}, "config temperature was 0 and is now 1"),
    ],
)
def test_a_resume_of_something_else_is_refused_and_the_difference_named(
    changed: dict[str, Any], says: str, tmp_path: Path
) -> None:
    before = _spec(tmp_path)
    with pytest.raises(InputError, match=f"not the same evaluation any more: .*{says}"):
        refuse_differences("7" * 32, differences(before, _spec(tmp_path, **changed)))


def test_a_resume_of_the_same_is_not_refused_and_a_changed_key_is_no_difference(
    tmp_path: Path,
) -> None:
    before = _spec(tmp_path)
    now = _spec(tmp_path, config={"temperature": 0, "api_key": "sk-another"})
    assert "sk-not-recorded" not in repr(before)
    refuse_differences("7" * 32, differences(before, now))
    assert differences(before, _spec(tmp_path, max_concurrent=3, retries=9)) == []
