"""Who is compared: what one agent with one model did, task by task, in one job or in several.

Comparisons and leaderboards work on these; reading them from the store is done here, once for
both. What the numbers say is theirs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from hud._core.errors import InputError, bounded
from hud._core.garbage import fewer_collections
from hud._core.outcome import Outcome
from hud.eval.results import NOT_RUN, Member, member_of
from hud.eval.resume import owed_by
from hud.eval.spending import Ledger
from hud.store import LOCAL_TEAM, JobFilter, JobRecord, JobSummary, Store, every_run

By = Literal["job", "agent", "model", "agent-model"]
"""What makes one contender of several jobs' runs."""

EVERY_JOB = JobFilter()

_PAGE = 500
_TOLD_EVERY = 1_000
_SHORT_ID = 8


@dataclass(frozen=True, slots=True)
class TaskRuns:
    """A contender's runs of one task.

    Attributes:
        members: The latest attempt at every member, those marked invalid left out.
        attempts: Everything that was tried and not marked invalid, for what it cost.
        not_run: Members that were asked for and never begun.
    """

    slug: str
    members: tuple[Member, ...] = ()
    attempts: tuple[Member, ...] = ()
    not_run: int = 0

    @property
    def rewards(self) -> tuple[float, ...]:
        """One reward per member, NaN where there is none."""
        rewards = [math.nan if _cause(one) else one.reward for one in self.members]
        return (*rewards, *([math.nan] * self.not_run))

    @property
    def digests(self) -> frozenset[str]:
        """The versions of the task that were run, as far as they are known."""
        return frozenset(m.task_digest for m in self.members if m.task_digest is not None)

    def of_versions(self, digests: Collection[str]) -> TaskRuns:
        """Return the runs of these versions only; what names no version stays."""
        return replace(
            self,
            members=tuple(m for m in self.members if _is_of(m, digests)),
            attempts=tuple(m for m in self.attempts if _is_of(m, digests)),
        )


def _cause(member: Member) -> str | None:
    """Return why a member has no reward; what claims to be graded without one lacks its grade."""
    if member.cause is None and math.isnan(member.reward):
        return Outcome.GRADER.value
    return member.cause


def _is_of(member: Member, digests: Collection[str]) -> bool:
    return member.task_digest is None or member.task_digest in digests


@dataclass(frozen=True, slots=True)
class Contender:
    """One side of a comparison, or one row of a leaderboard.

    Attributes:
        tasks: Its runs by task slug.
        job_ids: Where they come from, oldest first.
        invalid: Members left out because a person marked them so, by the reason given.
        is_running: Whether a job of it has not ended yet.
    """

    name: str
    tasks: Mapping[str, TaskRuns]
    agent: str | None = None
    model: str | None = None
    job_ids: tuple[str, ...] = ()
    invalid: Mapping[str, int] = field(default_factory=dict[str, int])
    is_running: bool = False

    @property
    def rewards(self) -> dict[str, tuple[float, ...]]:
        """Per task, one reward per member, NaN where there is none."""
        return {slug: runs.rewards for slug, runs in self.tasks.items()}


@dataclass(frozen=True, slots=True)
class Used:
    """What runs used, per member that counts: further attempts are part of the price.

    Attributes:
        cost_usd: None when the price of any turn is unknown, or nothing was priced.
        known_cost_usd: What the turns of known price cost; None when there are none.
        unpriced_turns: Turns of unknown price, of all runs.
        time_s: Mean duration of the members that ended.
    """

    cost_usd: float | None
    known_cost_usd: float | None
    unpriced_turns: int
    tokens: float | None
    turns: float | None
    time_s: float | None

    @classmethod
    def by(cls, tasks: Iterable[TaskRuns]) -> Used:
        """Return what the runs of these tasks used."""
        members = tokens = turns = unpriced = 0
        costs: list[float] = []
        times_us: list[int] = []
        for runs in tasks:
            members += len(runs.members)
            for attempt in runs.attempts:
                tokens += attempt.tokens
                turns += attempt.turns
                unpriced += attempt.unpriced_turns
                if attempt.known_cost_usd is not None:
                    costs.append(attempt.known_cost_usd)
            times_us += [m.ended_at - m.started_at for m in runs.members if m.ended_at is not None]
        known = math.fsum(costs) / members if costs and members else None
        return cls(
            cost_usd=None if unpriced else known,
            known_cost_usd=known,
            unpriced_turns=unpriced,
            tokens=tokens / members if members else None,
            turns=turns / members if members else None,
            time_s=sum(times_us) / len(times_us) / 1e6 if times_us else None,
        )


def causes_of(tasks: Iterable[TaskRuns]) -> dict[str, int]:
    """Return how many members are ungraded by what broke, the commonest first."""
    causes: Counter[str] = Counter()
    for runs in tasks:
        causes.update(cause for m in runs.members if (cause := _cause(m)) is not None)
        if runs.not_run:
            causes[NOT_RUN] += runs.not_run
    return dict(causes.most_common())


def jobs_of_taskset(store: Store, taskset: str, *, team: str = LOCAL_TEAM) -> list[JobRecord]:
    """Return the jobs of a taskset, newest first, without their `spec`.

    Raises:
        InputError: when there is none.
    """
    return [summary.job for summary in summaries_of_taskset(store, taskset, team=team)]


def summaries_of_taskset(store: Store, taskset: str, *, team: str = LOCAL_TEAM) -> list[JobSummary]:
    """Return the jobs of a taskset with their counts, newest first, without their `spec`.

    Raises:
        InputError: when there is none.
    """
    found = list(every_job(store, JobFilter(taskset=taskset), team=team))
    if not found:
        listed = store.list_jobs(limit=_PAGE, team=team)
        names = dict.fromkeys(one.job.taskset for one in listed if one.job.taskset)
        known = ", ".join(bounded(name, 60) for name in list(names)[:5])
        raise InputError(
            f"no job of a taskset {bounded(taskset)!r} is recorded",
            hint=f"there are jobs of: {known}" if known else "`hud jobs` lists what is recorded",
        )
    return found


def every_job(store: Store, filters: JobFilter, *, team: str = LOCAL_TEAM) -> Iterator[JobSummary]:
    """Yield all jobs with their counts, newest first, without their `spec`."""
    last: JobRecord | None = None
    while page := store.list_jobs(filters, limit=_PAGE, before=last, team=team):
        yield from page
        last = page[-1].job


def read_contenders(
    store: Store,
    jobs: Sequence[JobRecord],
    *,
    by: By = "agent-model",
    team: str = LOCAL_TEAM,
    told: Callable[[int], None] = lambda runs: None,
) -> list[Contender]:
    """Read the runs of jobs and return who made them, named so that they can be told apart.

    In the order of their first job, the oldest first; `by="job"` keeps the order given.

    Args:
        told: Called with how many more runs have been read, now and then.
    """
    drafts: dict[tuple[str | None, ...], _Draft] = {}
    ordered = jobs if by == "job" else sorted(jobs, key=lambda job: (job.created_at, job.id))
    with fewer_collections():
        for job in ordered:
            told(_read_job(store, job, by, team, drafts, told))
    return named_apart([draft.finished() for draft in drafts.values()])


def _read_job(
    store: Store,
    job: JobRecord,
    by: By,
    team: str,
    drafts: dict[tuple[str | None, ...], _Draft],
    told: Callable[[int], None],
) -> int:
    """Add a job's runs to the drafts; return how many were read and not told of yet."""
    # A listed job comes without its spec, which says what it owes.
    owed = dict(owed_by(job if job.spec else store.find_job(job.id, team=team)) or {})
    ledger = Ledger(store, job.id, team=team)
    of_model: dict[str | None, _Draft] = {}

    def draft_for(model: str | None) -> _Draft:
        if model not in of_model:
            key: tuple[str | None, ...]
            match by:
                case "job":
                    key = (job.id,)
                case "agent":
                    key = (job.agent,)
                case "model":
                    key = (model,)
                case "agent-model":
                    key = (job.agent, model)
            draft = drafts.setdefault(key, _Draft())
            draft.take_job(job, model)
            of_model[model] = draft
        return of_model[model]

    latest: dict[tuple[str, int], tuple[_Draft, Member]] = {}
    untold = 0
    for run in every_run(store, job.id, team=team):
        untold += 1
        if untold == _TOLD_EVERY:
            told(untold)
            untold = 0
        draft = draft_for(run.model or job.model)
        member = member_of(run, ledger.add(run))
        if member.invalid_reason is None:
            draft.attempts.setdefault(member.task, []).append(member)
        latest[member.task, member.member] = draft, member
    for draft, member in latest.values():
        draft.take_member(member)
        if member.task in owed:
            owed[member.task] -= 1
    first = next(iter(of_model.values()), None) or draft_for(job.model)
    for slug, missing in owed.items():
        if missing > 0:
            first.not_run[slug] += missing
    return untold


class _Draft:
    """A contender while its runs are read."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self.models: dict[str | None, None] = {}
        self.members: dict[str, list[Member]] = {}
        self.attempts: dict[str, list[Member]] = {}
        self.not_run: Counter[str] = Counter()
        self.invalid: Counter[str] = Counter()

    def take_job(self, job: JobRecord, model: str | None) -> None:
        self.jobs[job.id] = job
        self.models[model] = None

    def take_member(self, member: Member) -> None:
        if member.invalid_reason is not None:
            self.invalid[member.invalid_reason] += 1
        else:
            self.members.setdefault(member.task, []).append(member)

    def finished(self) -> Contender:
        slugs = dict.fromkeys((*self.members, *self.attempts, *self.not_run))
        tasks = {
            slug: TaskRuns(
                slug,
                tuple(self.members.get(slug, ())),
                tuple(self.attempts.get(slug, ())),
                self.not_run[slug],
            )
            for slug in slugs
        }
        agents = {job.agent for job in self.jobs.values()}
        return Contender(
            name="",
            tasks={slug: runs for slug, runs in tasks.items() if runs.members or runs.not_run},
            agent=_only(agents),
            model=_only(self.models),
            job_ids=tuple(self.jobs),
            invalid=dict(self.invalid.most_common()),
            is_running=any(job.status == "running" for job in self.jobs.values()),
        )


def _only(names: Collection[str | None]) -> str | None:
    """Return the one name there is; several are joined, none is None."""
    known = sorted(name for name in names if name)
    return ", ".join(known) if known else None


def with_a_voice(contenders: Sequence[Contender]) -> list[Contender]:
    """Return those that ran at least half as many tasks as the largest; others are trials."""
    largest = max((len(one.tasks) for one in contenders), default=0)
    return [one for one in contenders if 2 * len(one.tasks) >= largest]


def named_apart(contenders: Sequence[Contender]) -> list[Contender]:
    """Give contenders the shortest names that tell them apart: model, agent and model, job."""
    spellings = (
        [one.model or one.agent for one in contenders],
        [" ".join(part for part in (one.agent, one.model) if part) for one in contenders],
    )
    for names in spellings:
        if all(names) and len(set(names)) == len(names):
            return [
                replace(one, name=name or "") for one, name in zip(contenders, names, strict=True)
            ]
    counted: Counter[str] = Counter()
    named: list[Contender] = []
    for one in contenders:
        name = " ".join(part for part in (one.model or one.agent, _first_job(one)) if part)
        counted[name] += 1
        again = f" ({counted[name]})" if counted[name] > 1 else ""
        named.append(replace(one, name=f"{name}{again}"))
    return named


def _first_job(contender: Contender) -> str:
    return contender.job_ids[0][:_SHORT_ID] if contender.job_ids else ""
