"""Is one better than the other? Two or more contenders on the same tasks, paired by task.

Decides what may be paired: the same task in the same version, graded on both sides. A run without
a grade is no zero here: it is in no difference, only in the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from hud.eval.comparison import Comparison, Side, TaskPair, TaskState
from hud.eval.contender import Contender, TaskRuns, Used, causes_of
from hud.eval.pairing import (
    FLIPS,
    SignFlip,
    detectable_difference,
    holm,
    pair,
    paired_interval,
    sign_flip,
    task_means,
)
from hud.eval.verdict import verdict_of, warnings_of


def compare(
    first: Contender,
    second: Contender,
    *,
    include_changed: bool = False,
    flips: int = FLIPS,
    seed: int = 0,
) -> Comparison:
    """Compare two contenders on the tasks both have.

    Args:
        include_changed: Also pair tasks of which the sides ran different versions.
        flips: Random sign assignments to try where all of them cannot be counted.
    """
    return compare_all([first, second], include_changed=include_changed, flips=flips, seed=seed)[0]


def compare_all(
    contenders: Sequence[Contender],
    *,
    include_changed: bool = False,
    flips: int = FLIPS,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Compare every two contenders; p-values are adjusted after Holm for how many that are."""
    drafts = [
        _Draft(first, second, include_changed=include_changed)
        for first, second in combinations(contenders, 2)
    ]
    tests = [
        sign_flip(list(draft.paired.differences.values()), flips=flips, seed=seed)
        for draft in drafts
    ]
    adjusted = holm([1.0 if test.p_value is None else test.p_value for test in tests])
    return tuple(
        draft.finished(test, p_value, len(drafts))
        for draft, test, p_value in zip(drafts, tests, adjusted, strict=True)
    )


class _Draft:
    """Two contenders with their tasks matched."""

    def __init__(self, first: Contender, second: Contender, *, include_changed: bool) -> None:
        self.first, self.second = first, second
        self.includes_changed = include_changed
        self.changed: list[str] = []
        self.mixed: list[str] = []
        shared: dict[str, tuple[TaskRuns, TaskRuns]] = {}
        for slug, runs in first.tasks.items():
            others = second.tasks.get(slug)
            if others is not None:
                matched = self._matched(runs, others)
                if matched is not None:
                    shared[slug] = matched
        self.shared = shared
        self.paired = pair(
            task_means({slug: ours.rewards for slug, (ours, _) in shared.items()}),
            task_means({slug: theirs.rewards for slug, (_, theirs) in shared.items()}),
        )

    def _matched(self, ours: TaskRuns, theirs: TaskRuns) -> tuple[TaskRuns, TaskRuns] | None:
        """Return the runs of the versions both sides ran; None when there is no such version."""
        common = ours.digests & theirs.digests
        is_alike = len(ours.digests | theirs.digests) <= 1
        if is_alike or not ours.digests or not theirs.digests:
            return ours, theirs
        (self.mixed if common else self.changed).append(ours.slug)
        if self.includes_changed:
            return ours, theirs
        return (ours.of_versions(common), theirs.of_versions(common)) if common else None

    def finished(self, test: SignFlip, p_value: float, comparisons: int) -> Comparison:
        values = list(self.paired.differences.values())
        found = Comparison(
            first=self._side(self.first, 0),
            second=self._side(self.second, 1),
            pairs=tuple(sorted(self._pairs(), key=_by_disagreement)),
            difference=self.paired.mean,
            interval=paired_interval(values),
            test=test,
            p_value=None if test.p_value is None else p_value,
            comparisons=comparisons,
            lower_bound=self.paired.lower_bound,
            upper_bound=self.paired.upper_bound,
            detectable=detectable_difference(values),
            changed=tuple(self.changed),
            mixed=tuple(self.mixed),
            includes_changed=self.includes_changed,
        )
        return replace(found, verdict=verdict_of(found), warnings=warnings_of(found))

    def _pairs(self) -> list[TaskPair]:
        slugs = dict.fromkeys((*self.first.tasks, *self.second.tasks))
        return [self._pair(slug) for slug in slugs]

    def _pair(self, slug: str) -> TaskPair:
        ours, theirs = self.shared.get(slug) or (
            self.first.tasks.get(slug),
            self.second.tasks.get(slug),
        )
        state: TaskState = "compared"
        if ours is None:
            state = "only second"
        elif theirs is None:
            state = "only first"
        elif slug not in self.shared:
            state = "changed"
        elif slug not in self.paired.differences:
            state = "ungraded"
        return TaskPair(
            slug,
            state,
            *_figures(ours),
            *_figures(theirs),
            self.paired.differences.get(slug),
        )

    def _side(self, contender: Contender, at: int) -> Side:
        runs = [both[at] for both in self.shared.values()]
        compared = [self.shared[slug][at] for slug in self.paired.differences]
        means = [mean for one in compared if (mean := _figures(one)[0]) is not None]
        figures = [_figures(one) for one in runs]
        return Side(
            name=contender.name,
            agent=contender.agent,
            model=contender.model,
            job_ids=contender.job_ids,
            runs=sum(runs_ for _, _, runs_ in figures),
            graded=sum(graded for _, graded, _ in figures),
            mean=math.fsum(means) / len(means) if means else None,
            used=Used.by(compared),
            ungraded_by_cause=causes_of(runs),
            invalid=contender.invalid,
            is_running=contender.is_running,
        )


def _figures(runs: TaskRuns | None) -> tuple[float | None, int, int]:
    """Return mean, graded and members of one side's runs of a task."""
    rewards = runs.rewards if runs is not None else ()
    graded = [reward for reward in rewards if not math.isnan(reward)]
    mean = math.fsum(graded) / len(graded) if graded else None
    return mean, len(graded), len(rewards)


def _by_disagreement(one: TaskPair) -> tuple[bool, float, str]:
    return one.difference is None, -abs(one.difference or 0.0), one.slug
