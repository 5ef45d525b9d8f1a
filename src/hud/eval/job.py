"""A job: many runs of one taskset by one agent, and what they say together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from hud.agents.run import Run
from hud.eval.metering import Meter
from hud.eval.recording import JobHold, default_sinks, job_row, store_of
from hud.eval.spending import Spent
from hud.eval.statistics import Summary, summarize


@dataclass
class Job:
    """The runs of one evaluation.

    Attributes:
        runs: One run per task and repeat: its latest attempt, in the order they ended.
        attempts: Earlier, ungraded attempts that were tried again.
        group: Repeats per task.
        hold: Who in this process works on the job.
        members: How many members each task has had so far, by slug.
        meter: Counts what the job uses.
        ended_early: Which budget ended the latest `run` into the job before everything was run,
            in a sentence with the amounts; None when none did.
    """

    id: str
    name: str
    runs: list[Run] = field(default_factory=list[Run])
    group: int = 1
    taskset_id: str | None = None
    attempts: list[Run] = field(default_factory=list[Run])
    hold: JobHold = field(default_factory=JobHold, init=False, repr=False, compare=False)
    members: dict[str, int] = field(
        default_factory=dict[str, int], init=False, repr=False, compare=False
    )
    meter: Meter = field(default_factory=Meter, init=False, repr=False, compare=False)
    ended_early: str | None = field(default=None, init=False, compare=False)

    @classmethod
    async def start(cls, name: str, *, group: int = 1, taskset_id: str | None = None) -> Job:
        """Record a new job and return it; give it to `run(job=…)` any number of times.

        Raises:
            StoreError: when the store cannot be opened, or cannot keep the job.
        """
        row = job_row(name, group=group, taskset_id=taskset_id)
        store = store_of(default_sinks())
        if store is not None:
            store.put(row)
        return cls(row.id, name, group=group, taskset_id=taskset_id)

    @property
    def spent(self) -> Spent:
        """Tokens, model turns and money of every attempt, those of earlier processes included."""
        return self.meter.spent

    @property
    def reward(self) -> float:
        """Mean reward over graded runs; NaN when there are none."""
        rewards = [run.reward for run in self.runs if run.is_graded]
        return math.fsum(rewards) / len(rewards) if rewards else math.nan

    @property
    def errors(self) -> list[Run]:
        """The runs without a grade."""
        return [run for run in self.runs if not run.is_graded]

    @property
    def results(self) -> dict[str, list[Run]]:
        """The runs by task slug, repeats in order."""
        grouped: dict[str, list[Run]] = {}
        for run in self.runs:
            grouped.setdefault(run.slug or run.task_id, []).append(run)
        for runs in grouped.values():
            runs.sort(key=lambda run: run.member)
        return grouped

    def statistics(self, *, ks: Iterable[int] | None = None) -> Summary:
        """Return mean, interval, pass@k (1 and the group size by default), coverage and causes."""
        rewards = {slug: [run.reward for run in runs] for slug, runs in self.results.items()}
        causes = Counter(run.outcome.value if run.outcome else "cancelled" for run in self.errors)
        wanted = tuple(ks) if ks is not None else tuple(sorted({1, self.group}))
        return summarize(rewards, ks=wanted, ungraded_by_cause=causes)
