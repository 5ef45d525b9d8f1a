"""What a recorded job says as a whole: read back from the store, every attempt of it.

The store, not the memory of the process that ran it, is what is reported: so a job that was
resumed, and one that is looked at a year later, show the same table.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from hud._core.outcome import Outcome
from hud.eval.spending import Ledger, Spent
from hud.eval.statistics import Summary, pass_at_k, summarize
from hud.store import LOCAL_TEAM, RunRecord, Store, every_run

NOT_RUN = "not run"
UNFINISHED = "unfinished"

_NUMBER = re.compile(r"(\d+)")
_DIFFERS = "…"


class Member(msgspec.Struct, frozen=True, gc=False):
    """One attempt at one member of one task. Times are microseconds since the epoch.

    Attributes:
        task_digest: Which version of the task it was, None where nobody said.
        invalid_reason: Why a person marked it as not to be counted; None for one that counts.
    """

    run_id: str
    task: str
    member: int
    attempt: int
    outcome: Outcome | None
    reward: float
    error: str | None
    stop_reason: str | None
    started_at: int
    ended_at: int | None
    tokens: int = 0
    turns: int = 0
    unpriced_turns: int = 0
    known_cost_usd: float | None = None
    task_digest: str | None = None
    invalid_reason: str | None = None

    @property
    def cost_usd(self) -> float | None:
        """What it cost; None when the price of any turn is unknown, or there are none."""
        return None if self.unpriced_turns else self.known_cost_usd

    @property
    def cause(self) -> str | None:
        """Why it is ungraded, None when it is graded."""
        if self.outcome is None:
            return UNFINISHED
        return None if self.outcome is Outcome.GRADED else self.outcome.value


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task's members; `rewards` are in member order, NaN where there is none."""

    slug: str
    rewards: tuple[float, ...]

    @property
    def graded(self) -> list[float]:
        """The rewards there are."""
        return [reward for reward in self.rewards if not math.isnan(reward)]

    @property
    def mean(self) -> float | None:
        """Mean over the graded members."""
        graded = self.graded
        return math.fsum(graded) / len(graded) if graded else None

    def pass_at(self, k: int, threshold: float = 1.0) -> float | None:
        """Return the unbiased pass@k, None when fewer than `k` members are graded."""
        graded = self.graded
        return pass_at_k(len(graded), sum(reward >= threshold - 1e-9 for reward in graded), k)


@dataclass(frozen=True, slots=True)
class Results:
    """A job's results.

    Attributes:
        members: The latest attempt at every member that counts, by task and member.
        all_attempts: Every run of the job, by task, member and attempt.
        tasks: Per task, in the order asked for.
        faults: Outcome, sentence and how often it ended a member ungraded, the commonest first;
            sentences that differ in their numbers only count as one, without those numbers.
        spent: What all of them used.
        wall_s: Seconds the job was worked on, pauses between its parts not counted.
        invalid: Members marked as not to be counted, by the reason given: in no other figure but
            what was spent.
    """

    members: tuple[Member, ...]
    tasks: tuple[TaskResult, ...]
    summary: Summary
    faults: tuple[tuple[str, str, int], ...]
    all_attempts: tuple[Member, ...]
    spent: Spent = field(default_factory=Spent)
    wall_s: float = 0.0
    invalid: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def attempts(self) -> int:
        """How often anything was tried, retries included."""
        return len(self.all_attempts)

    @property
    def is_complete(self) -> bool:
        """Whether every member is graded."""
        return self.summary.ungraded == 0


def read_results(
    store: Store,
    job_id: str,
    *,
    owed: Mapping[str, int] | None = None,
    ks: Iterable[int] = (1,),
    team: str = LOCAL_TEAM,
) -> Results:
    """Read a job's runs and return what they say.

    Args:
        owed: Members per task, in the order to report; one without any run counts as ungraded
            (`not run`). What the job recorded, by slug, when left out.
        ks: For which k to estimate pass@k.
    """
    latest: dict[tuple[str, int], Member] = {}
    attempts: list[Member] = []
    ledger = Ledger(store, job_id, team=team)
    for run in every_run(store, job_id, team=team):
        attempts.append(member_of(run, ledger.add(run)))
        latest[run.task_slug, run.member] = attempts[-1]
    return results_from(
        tuple(latest.values()),
        owed,
        tuple(ks),
        attempts=tuple(attempts),
        spent=ledger.spent,
        wall_s=ledger.wall_s,
    )


def results_from(
    latest: tuple[Member, ...],
    owed: Mapping[str, int] | None,
    ks: tuple[int, ...],
    *,
    spent: Spent,
    wall_s: float,
    attempts: tuple[Member, ...] | None = None,
) -> Results:
    """Return what the latest attempts at a job's members say; see `read_results`.

    Args:
        attempts: All there were; None when these are all.
    """
    members = tuple(member for member in latest if member.invalid_reason is None)
    dropped = [member for member in latest if member.invalid_reason is not None]
    dropped_of = Counter(member.task for member in dropped)
    rewards: dict[str, list[float]] = {slug: [] for slug in owed or ()}
    causes: Counter[str] = Counter()
    faults: Counter[tuple[str, str]] = Counter()
    sentences: dict[tuple[str, str], list[str]] = {}
    for member in members:
        rewards.setdefault(member.task, []).append(member.reward)
        if (cause := member.cause) is not None:
            causes[cause] += 1
            if member.error:
                kind = (cause, _NUMBER.sub(_DIFFERS, member.error))
                faults[kind] += 1
                pieces = _NUMBER.split(member.error)
                said = sentences.setdefault(kind, pieces)
                if said != pieces:
                    sentences[kind] = _alike(said, pieces)
    for slug, count in (owed or {}).items():
        missing = count - len(rewards[slug]) - dropped_of[slug]
        if missing > 0:
            causes[NOT_RUN] += missing
            rewards[slug].extend([math.nan] * missing)
    return Results(
        members,
        tuple(TaskResult(slug, tuple(values)) for slug, values in rewards.items()),
        summarize(rewards, ks=ks, ungraded_by_cause=dict(causes.most_common())),
        tuple((kind[0], "".join(sentences[kind]), times) for kind, times in faults.most_common()),
        latest if attempts is None else attempts,
        spent,
        wall_s,
        dict(Counter(member.invalid_reason or "" for member in dropped).most_common()),
    )


def _alike(one: list[str], other: list[str]) -> list[str]:
    """Return two sentences as one, without the numbers in which they differ."""
    return [a if a == b else _DIFFERS for a, b in zip(one, other, strict=True)]


def member_of(run: RunRecord, spent: Spent) -> Member:
    """Return a recorded run as a member, with what it used."""
    return Member(
        run.id,
        run.task_slug,
        run.member,
        run.attempt,
        run.outcome,
        math.nan if run.reward is None else run.reward,
        run.error,
        run.stop_reason,
        run.started_at,
        run.ended_at,
        spent.tokens,
        spent.turns,
        spent.unpriced_turns,
        spent.known_cost_usd,
        run.task_digest,
        run.invalid_reason,
    )
