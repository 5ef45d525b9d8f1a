"""What can be said of a job while it runs, updated in constant time as each rollout ends.

Agrees with `statistics.summarize` on the same rewards; holds two numbers per task, no runs.
"""

from __future__ import annotations

import math
from collections import Counter

from hud.agents.run import Run
from hud.eval.statistics import CONFIDENCE, student_t_quantile

_EXACT_DF = 1_000


class Tally:
    """Counts and the running mean of a job of `total` rollouts.

    Attributes:
        total: Rollouts the job owes, those finished before it was taken up again included.
        graded: Rollouts with a reward.
        ungraded: Rollouts that ended without one and are not tried again, by outcome.
        retried: Attempts that are tried again.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.graded = 0
        self.ungraded: Counter[str] = Counter()
        self.retried = 0
        self._by_task: dict[str, tuple[int, float]] = {}
        self._sum = 0.0
        self._sum_squares = 0.0
        self._sum_products = 0.0
        self._count_squares = 0

    @property
    def done(self) -> int:
        """Rollouts that have ended for good."""
        return self.graded + self.ungraded.total()

    def ended(self, run: Run, *, will_retry: bool = False) -> None:
        """Take in a run that ended."""
        if run.is_graded:
            self.add(run.slug or run.task_id, run.reward)
        elif will_retry:
            self.retried += 1
        else:
            self.ungraded[run.outcome.value if run.outcome else "cancelled"] += 1

    def add(self, task: str, reward: float) -> None:
        """Take in one reward of one task."""
        count, total = self._by_task.get(task, (0, 0.0))
        self._sum_squares += 2 * total * reward + reward * reward
        self._sum_products += total + (count + 1) * reward
        self._count_squares += 2 * count + 1
        self._by_task[task] = (count + 1, total + reward)
        self._sum += reward
        self.graded += 1

    @property
    def mean(self) -> float | None:
        """Mean reward over graded rollouts."""
        return self._sum / self.graded if self.graded else None

    @property
    def margin(self) -> float | None:
        """Half the width of the mean's 95 % interval; None with fewer than two graded tasks."""
        tasks = len(self._by_task)
        if tasks < 2:
            return None
        mean = self._sum / self.graded
        squares = (
            self._sum_squares - 2 * mean * self._sum_products + mean * mean * self._count_squares
        )
        error = math.sqrt(tasks / (tasks - 1) * max(squares, 0.0)) / self.graded
        return student_t_quantile(CONFIDENCE, min(tasks - 1, _EXACT_DF)) * error
