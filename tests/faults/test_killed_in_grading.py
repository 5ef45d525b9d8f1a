"""What grades is killed in the middle of grading: no zero, no second grade, and nothing is left."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from hud import Run, Task, Taskset
from hud._core.processes import descendants_of
from hud.eval.places import place_at
from hud.runtimes.base import Provider
from tests.faults import census as counting
from tests.faults.census import Census
from tests.faults.places import ALL, Ground, ground, tasks_file
from tests.faults.table import Record

GROUP = "An environment is killed in the middle of grading (`kill -9`)"
ROLLOUTS = 4
DEADLINE_S = 120.0


async def answer(run: Run) -> str:
    """Work on a task."""
    return "yes"


@pytest.mark.parametrize("name", ALL)
def test_a_rollout_whose_grader_is_killed_is_ungraded_and_no_zero(
    name: str,
    request: pytest.FixtureRequest,
    census: Census,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault_row: Record,
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    with ground(name, request, tmp_path) as place:
        for variable, value in place.env.items():
            monkeypatch.setenv(variable, value)
        if name == "kubernetes":  # its client reads the variable once, when it is imported
            config = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
            monkeypatch.setattr(config, place.env["KUBECONFIG"])
        census.counts |= place.counts
        provider = place_at(place.argument, tasks_file(tmp_path))
        asyncio.run(_killed(name, place, provider, census, fault_row))


async def _killed(
    name: str, place: Ground, provider: Provider, census: Census, fault_row: Record
) -> None:
    before = await asyncio.to_thread(census.take)
    others = set(descendants_of(os.getpid()))
    word = f"hud-{uuid.uuid4().hex[:8]}"
    rows = [
        Task(env="faulted", id="held", slug=f"held-{n}", args={"name": word, "n": n})
        for n in range(ROLLOUTS)
    ]
    work = asyncio.create_task(Taskset("held", rows).run(answer, runtime=provider, retries=0))
    victim = await _grading(word, work.done)
    census.remember(victim)
    if name == "bundle":  # behind whose wall no process has the mark
        for pid in set(descendants_of(os.getpid())) - others:
            census.remember(pid)
    during = await asyncio.to_thread(census.left, before)
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(DEADLINE_S):
        job = await work
    seconds, left = await asyncio.to_thread(census.wait_until, before)
    assert left == {}, "left behind: " + counting.spelled(left)

    outcomes = Counter(str(run.outcome and run.outcome.value) for run in job.runs)
    assert outcomes == {"graded": ROLLOUTS - 1, "runtime": 1}, [run.trace.error for run in job.runs]
    [broken] = [run for run in job.runs if not run.is_graded]
    assert math.isnan(broken.reward)
    assert job.reward == 1.0, "what broke counts for nothing"
    fault_row(
        group=GROUP,
        fault="one of four is killed while it grades; the others are graded",
        where=name,
        rollouts=ROLLOUTS,
        graded=ROLLOUTS - 1,
        ungraded={"runtime": 1},
        before=counting.total(before),
        during=counting.spelled(during),
        reaped_s=seconds,
        by="by the eval",
        note=NOTE,
    )


NOTE = (
    "Run without retries, to show the outcome; by default `hud eval` tries what broke at the "
    "`runtime` again, as an attempt of its own."
)


async def _grading(word: str, is_over: Callable[[], bool]) -> int:
    """Return the process that grades, once it does; walled in or not, the machine sees it."""
    async with asyncio.timeout(DEADLINE_S):
        while not (found := await asyncio.to_thread(counting.named, word)):
            assert not is_over(), "the rollouts ended before one was graded"
            await asyncio.sleep(0.02)
    return found[0]
