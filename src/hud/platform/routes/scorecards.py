"""What one job says as a whole: its statistics, what it used, what broke, what does not count."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request
from pydantic import BaseModel

from hud.eval.leaderboard import statistics_data
from hud.eval.results import Results, TaskResult, read_results
from hud.eval.resume import owed_by
from hud.platform.identity import Reader
from hud.platform.reading.finding import RecordId, find_job
from hud.platform.reading.shapes import Spent
from hud.platform.routes.asked import refusals
from hud.platform.routes.figures import Statistics
from hud.platform.routes.leaderboards import Ks
from hud.platform.services import services_of
from hud.platform.times import iso, iso_required
from hud.store import JobRecord, JobStatus, Store

router = APIRouter(prefix="/v2/jobs", tags=["comparison"])


class Expense(Spent):
    """What all runs of a job used, further attempts and invalid ones included.

    `cost_usd` is null when the price of any turn is unknown.
    """

    wall_s: float


class Breakage(BaseModel):
    """What left members without a grade: where it broke, the sentence, and how often."""

    cause: str
    sentence: str
    count: int


class TaskScore(BaseModel):
    """One task; `pass_at_k` is null for a k beyond its graded members."""

    slug: str
    runs: int
    graded: int
    mean: float | None
    pass_at_k: dict[str, float | None]


class Scorecard(BaseModel):
    """A job in figures. `invalid` is how many members do not count, by the reason given."""

    job_id: str
    name: str
    status: JobStatus
    taskset: str | None
    agent: str | None
    model: str | None
    created_at: str
    ended_at: str | None
    statistics: Statistics
    attempts: int
    invalid: dict[str, int]
    faults: list[Breakage]
    used: Expense
    tasks: list[TaskScore]


@router.get("/{job_id}/scorecard", responses=refusals(404))
def read_scorecard(request: Request, caller: Reader, job_id: RecordId, k: Ks = None) -> Scorecard:
    """Say what a job's runs amount to."""
    services = services_of(request)
    return scorecard_of(services.store, find_job(services, caller, job_id), ks=k)


def scorecard_of(store: Store, job: JobRecord, *, ks: Sequence[int] | None = None) -> Scorecard:
    """Return what a job's runs amount to; without `ks`, solved in one try and in all of them."""
    wanted = sorted(set(ks or (1, max(job.group_size, 1))))
    results = read_results(store, job.id, owed=owed_by(job), ks=wanted, team=job.team)
    return _scorecard(job, results, wanted)


def _scorecard(job: JobRecord, results: Results, ks: list[int]) -> Scorecard:
    spent = results.spent
    return Scorecard(
        job_id=job.id,
        name=job.name,
        status=job.status,
        taskset=job.taskset,
        agent=job.agent,
        model=job.model,
        created_at=iso_required(job.created_at),
        ended_at=iso(job.ended_at),
        statistics=Statistics.model_validate(statistics_data(results.summary)),
        attempts=results.attempts,
        invalid=dict(results.invalid),
        faults=[
            Breakage(cause=cause, sentence=sentence, count=count)
            for cause, sentence, count in results.faults
        ],
        used=Expense(
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            cached_tokens=spent.cached_tokens,
            llm_calls=spent.llm_calls,
            turns=spent.turns,
            unpriced_turns=spent.unpriced_turns,
            cost_usd=spent.cost_usd,
            known_cost_usd=spent.known_cost_usd,
            wall_s=results.wall_s,
        ),
        tasks=[_task(task, ks) for task in results.tasks],
    )


def _task(task: TaskResult, ks: list[int]) -> TaskScore:
    return TaskScore(
        slug=task.slug,
        runs=len(task.rewards),
        graded=len(task.graded),
        mean=task.mean,
        pass_at_k={str(k): task.pass_at(k) for k in ks},
    )
