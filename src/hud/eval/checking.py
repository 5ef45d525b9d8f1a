"""Whether tasks are fit to evaluate with: what two runs each of oracle and noop say of them.

Running them is the caller's; this reads the two jobs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hud._core import json
from hud.agents.run import Run
from hud.eval.job import Job
from hud.eval.taskset import Taskset

REPEATS = 2
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class TaskCheck:
    """What the runs said of one task; it is fit when there are no problems.

    Attributes:
        oracle: Rewards of the reference solution, NaN where ungraded.
        noop: Rewards of doing nothing, NaN where ungraded.
        problems: Sentences.
    """

    slug: str
    oracle: tuple[float, ...]
    noop: tuple[float, ...]
    problems: tuple[str, ...]

    @property
    def is_fit(self) -> bool:
        """Whether nothing is wrong with the task."""
        return not self.problems


def judge(taskset: Taskset, oracle: Job, noop: Job, *, floor: float = 0.0) -> list[TaskCheck]:
    """Return what `REPEATS` runs per task of each agent say, in the taskset's order.

    The reference solution must score 1, doing nothing at most `floor`, and the same task started
    again must give the same prompt and, for the same agent, the same grade.
    """
    solved, idle = oracle.results, noop.results
    checks: list[TaskCheck] = []
    for task in taskset:
        best, nothing = solved.get(task.slug, []), idle.get(task.slug, [])
        problems = (
            *_of_oracle(best),
            *_of_noop(nothing, floor),
            *_of_prompts([*best, *nothing]),
        )
        checks.append(TaskCheck(task.slug, _rewards(best), _rewards(nothing), problems))
    return checks


def _rewards(runs: Sequence[Run]) -> tuple[float, ...]:
    return tuple(run.reward for run in runs)


def _of_oracle(runs: Sequence[Run]) -> Iterator[str]:
    yield from _ungraded(runs, "the reference solution")
    graded = [reward for reward in _rewards(runs) if not math.isnan(reward)]
    missed = [reward for reward in graded if abs(reward - 1.0) > _ROUNDING]
    if missed:
        yield f"the reference solution scores {missed[0]:g}, not 1"
    yield from _unstable(graded, "the reference solution")


def _of_noop(runs: Sequence[Run], floor: float) -> Iterator[str]:
    yield from _ungraded(runs, "doing nothing")
    graded = [reward for reward in _rewards(runs) if not math.isnan(reward)]
    if graded and max(graded) > floor + _ROUNDING:
        yield f"doing nothing scores {max(graded):g}, above the floor {floor:g}"
    yield from _unstable(graded, "doing nothing")


def _ungraded(runs: Sequence[Run], who: str) -> Iterator[str]:
    broken = next((run for run in runs if not run.is_graded), None)
    if broken is not None:
        cause = broken.outcome.value if broken.outcome else "cancelled"
        yield f"{who} ends ungraded ({cause}): {broken.trace.error or 'no reason given'}"
    elif not runs:
        yield f"{who} was not run"


def _unstable(graded: Sequence[float], who: str) -> Iterator[str]:
    if graded and max(graded) - min(graded) > _ROUNDING:
        yield f"{who} is graded {min(graded):g} once and {max(graded):g} another time"


def _of_prompts(runs: Sequence[Run]) -> Iterator[str]:
    prompts = {json.encode(run.prompt) for run in runs if run.prompt is not None}
    if len(prompts) > 1:
        yield f"starting it {len(runs)} times gives {len(prompts)} different prompts"
