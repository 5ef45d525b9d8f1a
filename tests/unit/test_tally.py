"""The running mean of a job agrees with its final statistics at every moment."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hud._core.outcome import Outcome
from hud.agents.grade import Grade
from hud.agents.run import Run
from hud.eval.statistics import summarize
from hud.eval.tally import Tally


def _run(task: str, reward: float | None, outcome: Outcome = Outcome.GRADED) -> Run:
    run = Run(None, task, {})
    run.slug = task
    run.outcome = outcome
    if reward is not None:
        run.grade = Grade(reward=reward)
    return run


def test_mean_and_margin_are_those_of_the_final_statistics_at_every_step() -> None:
    draw = random.Random(7)
    rewards: dict[str, list[float]] = {}
    tally = Tally(200)
    for _ in range(200):
        task, reward = f"task-{draw.randrange(9)}", draw.choice([0.0, 0.25, 1.0])
        rewards.setdefault(task, []).append(reward)
        tally.ended(_run(task, reward))
        summary = summarize(rewards)
        assert tally.mean == pytest.approx(summary.mean)
        if summary.interval is None:
            assert tally.margin is None
        else:
            low, high = summary.interval
            assert tally.margin == pytest.approx((high - low) / 2)


def test_ungraded_runs_are_counted_by_cause_and_leave_the_mean_alone() -> None:
    tally = Tally(3)
    tally.ended(_run("a", 0.5))
    tally.ended(_run("a", None, Outcome.MODEL), will_retry=True)
    tally.ended(_run("a", None, Outcome.MODEL))
    seen: dict[str, Any] = {"mean": tally.mean, "done": tally.done, "retried": tally.retried}
    assert seen == {"mean": 0.5, "done": 2, "retried": 1}
    assert dict(tally.ungraded) == {"model": 1}


def test_nothing_is_said_before_anything_is_graded() -> None:
    tally = Tally(3)
    assert (tally.mean, tally.margin, tally.done) == (None, None, 0)
