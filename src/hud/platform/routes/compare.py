"""Comparisons over the API: jobs by id, or models and agents on a taskset, paired by task."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from hud.eval.comparing import compare_all
from hud.eval.comparison import TaskState
from hud.eval.contender import By
from hud.platform.errors import ApiError
from hud.platform.identity import Reader
from hud.platform.reading.finding import find_job
from hud.platform.registry import publications
from hud.platform.registry.contending import (
    MOST_SIDES,
    contenders_of_jobs,
    contenders_of_taskset,
)
from hud.platform.routes.asked import refusals
from hud.platform.routes.figures import Interval, Usage
from hud.platform.services import services_of

router = APIRouter(prefix="/v2", tags=["comparison"])

_Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class ComparedSide(Usage):
    """One side, on the tasks that are compared. `invalid` is what was left out, by reason."""

    name: str
    agent: str | None
    model: str | None
    jobs: list[str]
    mean: float | None
    runs: int
    graded: int
    coverage: float | None
    ungraded: dict[str, int]
    invalid: dict[str, int]


class SignFlipTest(BaseModel):
    """The test behind the p-value: `smallest_p` is what this many tasks could show at best."""

    name: str
    p_value: float | None
    is_exact: bool
    flips: int | None
    smallest_p: float


class TaskFigures(BaseModel):
    """One side's runs of one task."""

    mean: float | None
    graded: int
    runs: int


class ComparedTask(BaseModel):
    """A task on both sides; `difference` is null unless it is compared."""

    slug: str
    state: TaskState
    difference: float | None
    first: TaskFigures
    second: TaskFigures


class ComparisonItem(BaseModel):
    """Two sides compared; `better` is null where no difference can be told.

    `tasks` holds those that differ most; `task_count` is how many there are.
    """

    verdict: str
    better: str | None
    warnings: list[str]
    first: ComparedSide
    second: ComparedSide
    tasks_compared: int
    tasks_disagreeing: int
    difference: float | None
    interval_95: Interval | None
    p_value: float | None
    comparisons: int
    test: SignFlipTest
    lower_bound: float | None
    upper_bound: float | None
    detectable_difference: float | None
    changed: list[str]
    mixed_versions: list[str]
    includes_changed: bool
    task_count: int
    tasks: list[ComparedTask]


class ComparisonReply(BaseModel):
    """Every two sides compared; p-values are adjusted (Holm) for how many that are."""

    comparisons: list[ComparisonItem]


@router.get("/compare", responses=refusals(400, 404))
def compare(
    request: Request,
    caller: Reader,
    job: Annotated[
        list[_Word] | None, Query(max_length=MOST_SIDES, description="Ids of jobs.")
    ] = None,
    taskset: Annotated[_Word | None, Query(description="Name or id: what ran it.")] = None,
    by: By = "agent-model",
    side: Annotated[
        list[_Word] | None,
        Query(max_length=MOST_SIDES, description="With `taskset`: models or agents."),
    ] = None,
    include_changed: Annotated[
        bool, Query(description="Also pair other versions of a task.")
    ] = False,
    limit: Annotated[int, Query(ge=0, le=10_000, description="Tasks per comparison.")] = 1_000,
) -> ComparisonReply:
    """Compare jobs, or models and agents on a taskset, on the tasks they share."""
    services = services_of(request)
    if (taskset is None) == (not job):
        raise ApiError(
            400,
            "name jobs or a taskset, not both" if job else "there is nothing to compare",
            kind="bad_input",
            hint="?job=ID&job=ID, or ?taskset=NAME&side=MODEL&side=MODEL",
        )
    if taskset is None:
        jobs = [find_job(services, caller, job_id) for job_id in job or ()]
        contenders = contenders_of_jobs(services.store, caller.team, jobs)
    else:
        with services.database.reading() as connection:
            name = publications.taskset_name(connection, caller.team, taskset)
        contenders = contenders_of_taskset(services.store, caller.team, name, by, side or ())
    found = compare_all(contenders, include_changed=include_changed)
    return ComparisonReply(comparisons=[_item(one.as_data(), limit) for one in found])


def _item(data: dict[str, Any], limit: int) -> ComparisonItem:
    tasks: list[Any] = data["tasks"]
    return ComparisonItem.model_validate({**data, "task_count": len(tasks), "tasks": tasks[:limit]})
