"""Who does best on a taskset, and which places can be told apart.

One row per agent and model, or per job, over the tasks and the versions of them that most rows
ran. A place is a range: rows whose difference is not established share places, and rows that ran
other tasks have none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from hud.eval.comparison import used_data
from hud.eval.contender import (
    By,
    Contender,
    TaskRuns,
    Used,
    causes_of,
    jobs_of_taskset,
    read_contenders,
    with_a_voice,
)
from hud.eval.pairing import SIGNIFICANCE, Pairs, holm, pair, paired_t_p, task_means
from hud.eval.statistics import Summary, summarize
from hud.eval.verdict import reasons_in_words, tasks_in_words
from hud.store import LOCAL_TEAM, JobRecord, Store

_FEWEST_DIFFERING = 6
"""With fewer differing tasks no sign-flip test could show a difference: 2 / 2^5 exceeds 0.05."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One row of a leaderboard.

    Attributes:
        places: The best and the worst place it may hold: rows established as better come before
            it, rows established as worse after it. None for a row that cannot be ranked: it lacks
            tasks, or has no grade.
        used: What its runs used, per member.
        invalid: Members left out because a person marked them, by reason.
        lacking: Tasks of the leaderboard it has no runs of.
        changed: Tasks of which it ran other versions; those runs are left out.
        extra: Tasks it ran that are not on the leaderboard; left out.
        flags: What must be known about the row, one sentence each.
    """

    name: str
    agent: str | None
    model: str | None
    job_ids: tuple[str, ...]
    places: tuple[int, int] | None
    summary: Summary
    used: Used
    invalid: Mapping[str, int]
    lacking: tuple[str, ...]
    changed: tuple[str, ...]
    extra: tuple[str, ...]
    is_running: bool
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """The rows of one taskset, best first, those without a place last.

    Attributes:
        tasks: The tasks it is about, with the version counted (None: its runs name none).
        includes_changed: Whether runs of other tasks and versions count nevertheless.
        warnings: What must be known before reading it, one sentence each.
    """

    taskset: str
    standings: tuple[Standing, ...]
    tasks: Mapping[str, str | None]
    includes_changed: bool = False
    warnings: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; what is not available is None."""
        return {
            "taskset": self.taskset,
            "warnings": list(self.warnings),
            "includes_changed": self.includes_changed,
            "tasks": [{"slug": slug, "digest": digest} for slug, digest in self.tasks.items()],
            "standings": [_standing_data(one) for one in self.standings],
        }


def _standing_data(one: Standing) -> dict[str, Any]:
    return {
        "name": one.name,
        "agent": one.agent,
        "model": one.model,
        "jobs": list(one.job_ids),
        "places": list(one.places) if one.places else None,
        "flags": list(one.flags),
        **statistics_data(one.summary),
        **used_data(one.used),
        "invalid": dict(one.invalid),
        "lacking": list(one.lacking),
        "changed": list(one.changed),
        "extra": list(one.extra),
        "is_running": one.is_running,
    }


def statistics_data(summary: Summary) -> dict[str, Any]:
    """Return a summary as plain data."""
    return {
        "tasks": summary.tasks,
        "runs": summary.runs,
        "graded": summary.graded,
        "ungraded": dict(summary.ungraded_by_cause),
        "mean": summary.mean,
        "standard_error": summary.standard_error,
        "interval_95": list(summary.interval) if summary.interval else None,
        "coverage": summary.coverage,
        "lower_bound": summary.lower_bound,
        "upper_bound": summary.upper_bound,
        "success_rate": summary.success_rate,
        "pass_at_k": {str(one.k): one.value for one in summary.pass_at_k},
        "best_at_k": {str(one.k): one.value for one in summary.best_at_k},
    }


def leaderboard(
    store: Store,
    taskset: str,
    *,
    team: str = LOCAL_TEAM,
    by: By = "agent-model",
    jobs: Sequence[JobRecord] | None = None,
    ks: Iterable[int] | None = None,
    include_changed: bool = False,
    told: Callable[[int], None] = lambda runs: None,
) -> Leaderboard:
    """Read the jobs of a taskset and return its leaderboard.

    Args:
        by: What makes a row; `job` gives one per job.
        jobs: The jobs to count; all that recorded the taskset's name when left out.
        ks: For which k to give pass@k and best@k: 1 and the largest group when left out.
        include_changed: Also count runs of tasks and versions that most rows did not run.
        told: Called with how many more runs have been read, now and then.

    Raises:
        InputError: when no job of the taskset is recorded.
    """
    if jobs is None:
        jobs = jobs_of_taskset(store, taskset, team=team)
    if ks is None:
        ks = sorted({1, max((job.group_size for job in jobs), default=1)})
    contenders = read_contenders(store, jobs, by=by, team=team, told=told)
    return rank(taskset, contenders, ks=ks, include_changed=include_changed)


def rank(
    taskset: str,
    contenders: Sequence[Contender],
    *,
    ks: Iterable[int] = (1,),
    include_changed: bool = False,
) -> Leaderboard:
    """Return the leaderboard of these contenders."""
    tasks = reference_tasks(contenders)
    ks = tuple(ks)
    rows = [_Row(one, tasks, ks, include_changed=include_changed) for one in contenders]
    _place([row for row in rows if row.is_ranked])
    standings = sorted((row.standing() for row in rows), key=_order)
    return Leaderboard(
        taskset,
        tuple(standings),
        tasks,
        include_changed,
        tuple(_warnings(standings, tasks)),
    )


def reference_tasks(contenders: Sequence[Contender]) -> dict[str, str | None]:
    """Return the tasks most contenders ran, each with the version most of them ran.

    Contenders that ran fewer than half as many tasks as the largest (a trial run of one task, say)
    have no voice. A task belongs when at least half of the others ran it; of versions run equally
    often the one run last counts.
    """
    voices = with_a_voice(contenders)
    ran = Counter(slug for one in voices for slug in one.tasks)
    versions: dict[str, dict[str, tuple[int, int]]] = {}
    for one in voices:
        for slug, runs in one.tasks.items():
            found = versions.setdefault(slug, {})
            for digest in runs.digests:
                last = max(m.started_at for m in runs.members if m.task_digest == digest)
                times, before = found.get(digest, (0, 0))
                found[digest] = times + 1, max(last, before)
    return {
        slug: max(found, key=found.__getitem__) if (found := versions.get(slug)) else None
        for slug, times in ran.items()
        if 2 * times >= len(voices)
    }


class _Row:
    """A contender held against the tasks of the leaderboard."""

    def __init__(
        self,
        contender: Contender,
        tasks: Mapping[str, str | None],
        ks: tuple[int, ...],
        *,
        include_changed: bool,
    ) -> None:
        self.contender = contender
        self.changed: list[str] = []
        held: dict[str, TaskRuns] = {}
        for slug, digest in tasks.items():
            runs = contender.tasks.get(slug)
            if runs is None:
                continue
            if digest is not None and runs.digests - {digest}:
                self.changed.append(slug)
                if not include_changed:
                    runs = runs.of_versions((digest,))
            if runs.members or runs.not_run:
                held[slug] = runs
        self.lacking = tuple(slug for slug in tasks if slug not in held)
        self.extra = tuple(slug for slug in contender.tasks if slug not in tasks)
        if include_changed:
            held |= {slug: contender.tasks[slug] for slug in self.extra}
        rewards = {slug: runs.rewards for slug, runs in held.items()}
        self.summary = summarize(rewards, ks=ks, ungraded_by_cause=causes_of(held.values()))
        self.means = task_means({slug: rewards[slug] for slug in tasks if slug in rewards})
        self.used = Used.by(held.values())
        self.better = self.worse = 0
        self.rivals = 0

    @property
    def is_ranked(self) -> bool:
        return not self.lacking and self.summary.mean is not None

    def standing(self) -> Standing:
        places = (1 + self.better, self.rivals - self.worse) if self.is_ranked else None
        contender = self.contender
        found = Standing(
            name=contender.name,
            agent=contender.agent,
            model=contender.model,
            job_ids=contender.job_ids,
            places=places,
            summary=self.summary,
            used=self.used,
            invalid=contender.invalid,
            lacking=self.lacking,
            changed=tuple(self.changed),
            extra=self.extra,
            is_running=contender.is_running,
        )
        return replace(found, flags=tuple(_flags(found)))


def _place(rows: Sequence[_Row]) -> None:
    """Count for each row how many are established as better and as worse.

    By the paired t test over tasks, adjusted after Holm for all pairs, so that all places together
    hold with 95 % confidence; and only where the ungraded runs could not turn it round.
    """
    both = list(combinations(rows, 2))
    paired = [pair(first.means, second.means) for first, second in both]
    adjusted = holm([_p_value(one) for one in paired])
    for (first, second), one, p_value in zip(both, paired, adjusted, strict=True):
        low, high = one.lower_bound or 0.0, one.upper_bound or 0.0
        if p_value > SIGNIFICANCE or low <= 0.0 <= high:
            continue
        winner, loser = (first, second) if low > 0.0 else (second, first)
        winner.worse += 1
        loser.better += 1
    for row in rows:
        row.rivals = len(rows)


def _p_value(paired: Pairs) -> float:
    if paired.disagreeing < _FEWEST_DIFFERING:
        return 1.0
    return paired_t_p(list(paired.differences.values()))


def _order(one: Standing) -> tuple[bool, bool, float, float, str]:
    mean = one.summary.mean
    middle = sum(one.places) / 2 if one.places else 0.0
    return one.places is None, mean is None, middle, -(mean or 0.0), one.name


def _flags(one: Standing) -> list[str]:
    summary = one.summary
    flags: list[str] = []
    if one.lacking:
        flags.append(f"not ranked: lacks {tasks_in_words(len(one.lacking))}")
    elif summary.mean is None:
        flags.append("not ranked: nothing is graded")
    if one.changed:
        flags.append(f"ran {tasks_in_words(len(one.changed))} in another version")
    if one.extra:
        flags.append(f"ran {tasks_in_words(len(one.extra))} that most did not")
    if summary.ungraded:
        causes = ", ".join(f"{cause} {n:,}" for cause, n in summary.ungraded_by_cause.items())
        flags.append(f"{summary.ungraded:,} of {summary.runs:,} ungraded ({causes})")
    if one.invalid:
        total = sum(one.invalid.values())
        flags.append(f"{total:,} invalid left out ({reasons_in_words(dict(one.invalid))})")
    if one.is_running:
        flags.append("still running")
    return flags


def _warnings(standings: Sequence[Standing], tasks: Mapping[str, str | None]) -> list[str]:
    warnings: list[str] = []
    ranked = [one for one in standings if one.places is not None]
    covered = [one.summary.coverage or 0.0 for one in ranked]
    if covered and min(covered) != max(covered):
        warnings.append(
            f"unequal coverage: from {100 * min(covered):.1f} % to {100 * max(covered):.1f} % of "
            "the runs are graded; look at the bounds before the means"
        )
    if len(ranked) > 1 and all(one.places == (1, len(ranked)) for one in ranked):
        warnings.append(f"no row can be told from another with {tasks_in_words(len(tasks))}")
    others = sum(bool(one.lacking or one.changed or one.extra) for one in standings)
    if others:
        rows = "1 row" if others == 1 else f"{others} rows"
        warnings.append(f"{rows} ran other tasks, or other versions of them, than most")
    return warnings
