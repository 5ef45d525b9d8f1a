"""Leaderboards over the API, and which jobs are shown on the published ones."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from hud._core.errors import bounded
from hud.eval.contender import By
from hud.eval.leaderboard import leaderboard, rank
from hud.platform.accounts import audit
from hud.platform.errors import ApiError, not_found
from hud.platform.identity import Caller, Reader, Recorder
from hud.platform.reading.finding import find_job
from hud.platform.registry import publications
from hud.platform.registry.contending import recorded_jobs
from hud.platform.registry.naming import as_uuid
from hud.platform.registry.publications import Publication
from hud.platform.registry.tasksets import taskset_or_none
from hud.platform.routes.asked import refusals
from hud.platform.routes.figures import Statistics, Usage
from hud.platform.services import Services, services_of
from hud.platform.times import iso_required
from hud.store import JobRecord

router = APIRouter(prefix="/v2", tags=["comparison"])

TasksetPath = Annotated[str, Path(max_length=500, description="Its name or its id.")]
Ks = Annotated[
    list[Annotated[int, Field(ge=1, le=1000)]] | None,
    Query(max_length=5, description="For which k to give pass@k and best@k."),
]


class PublicationItem(BaseModel):
    """A job that is shown on the published leaderboard."""

    id: UUID
    taskset: str
    job_id: str
    title: str | None
    actor: str
    published_at: str


class PublicationList(BaseModel):
    """What is shown, in the order it was published."""

    items: list[PublicationItem]
    total: int


class PublicationWanted(BaseModel):
    """A job to show."""

    job_id: str = Field(min_length=1, max_length=200)
    title: str | None = Field(default=None, max_length=200)


class RankedTask(BaseModel):
    """A task of the leaderboard, with the version that counts; null where none is known."""

    slug: str
    digest: str | None


class StandingItem(Statistics, Usage):
    """A row.

    `places` is the best and the worst place it may hold, null for a row that cannot be ranked;
    `flags` says what must be known about it. `invalid` is what was left out, by reason.
    """

    name: str
    agent: str | None
    model: str | None
    jobs: list[str]
    places: tuple[int, int] | None
    flags: list[str]
    invalid: dict[str, int]
    lacking: list[str]
    changed: list[str]
    extra: list[str]
    is_running: bool


class LeaderboardReply(BaseModel):
    """Who does best on a taskset, and which places can be told apart."""

    taskset: str
    taskset_id: UUID | None
    warnings: list[str]
    includes_changed: bool
    tasks: list[RankedTask]
    standings: list[StandingItem]
    publications: list[PublicationItem]


@router.get("/leaderboards/{taskset:path}", responses=refusals(404))
def read_leaderboard(
    request: Request,
    caller: Reader,
    taskset: TasksetPath,
    by: By = "agent-model",
    published: Annotated[
        bool, Query(description="Only the jobs that are published, one row each.")
    ] = False,
    include_changed: Annotated[
        bool, Query(description="Also count other tasks and versions than most rows ran.")
    ] = False,
    k: Ks = None,
) -> LeaderboardReply:
    """Rank what ran a taskset."""
    services = services_of(request)
    with services.database.reading() as connection:
        name = publications.taskset_name(connection, caller.team, taskset)
        kept = taskset_or_none(connection, caller.team, name)
        shown = publications.published_jobs(connection, caller.team, name)
    jobs = recorded_jobs(services.store, caller.team, name)
    if not jobs and kept is None:
        not_found("taskset that any job ran", name)
    if published:
        ids = {one.job_id for one in shown}
        jobs = [job for job in jobs if job.id in ids]
    ranked = (
        leaderboard(
            services.store,
            name,
            team=caller.team,
            by="job" if published else by,
            jobs=jobs,
            ks=sorted(set(k)) if k else None,
            include_changed=include_changed,
        )
        if jobs
        else rank(name, [])
    )
    return LeaderboardReply.model_validate(
        {
            **ranked.as_data(),
            "taskset_id": None if kept is None else as_uuid(kept.id),
            "publications": [_item(one) for one in shown],
        }
    )


@router.get("/tasksets/{taskset:path}/publications", responses=refusals(404))
def list_publications(request: Request, caller: Reader, taskset: TasksetPath) -> PublicationList:
    """List what is published of a taskset."""
    with services_of(request).database.reading() as connection:
        name = publications.taskset_name(connection, caller.team, taskset)
        items = [_item(one) for one in publications.published_jobs(connection, caller.team, name)]
    return PublicationList(items=items, total=len(items))


@router.post("/tasksets/{taskset:path}/publications", status_code=201, responses=refusals(400, 404))
def publish(
    request: Request,
    response: Response,
    caller: Recorder,
    taskset: TasksetPath,
    wanted: PublicationWanted,
) -> PublicationItem:
    """Show a job on the published leaderboard; once more only changes its title."""
    services = services_of(request)
    with services.database.reading() as connection:
        name = publications.taskset_name(connection, caller.team, taskset)
    job = _job_of(services, caller, name, wanted.job_id)
    with services.database.writing() as connection:
        made, is_new = publications.publish_job(
            connection, caller.team, name, job.id, wanted.title, caller.name
        )
        audit.note(connection, caller.team, caller.name, "job.publish", job.id, taskset=name)
    response.status_code = 201 if is_new else 200
    return _item(made)


@router.delete("/tasksets/{taskset:path}/publications", responses=refusals(404))
def unpublish(
    request: Request,
    caller: Recorder,
    taskset: TasksetPath,
    job_id: Annotated[str, Query(min_length=1, max_length=200, pattern=r"^[^\x00]*$")],
) -> PublicationItem:
    """Show a job no more."""
    with services_of(request).database.writing() as connection:
        name = publications.taskset_name(connection, caller.team, taskset)
        gone = publications.unpublish_job(connection, caller.team, name, job_id)
        audit.note(connection, caller.team, caller.name, "job.unpublish", gone.job_id, taskset=name)
    return _item(gone)


def _job_of(services: Services, caller: Caller, taskset: str, job_id: str) -> JobRecord:
    job = find_job(services, caller, job_id)
    if job.taskset != taskset:
        ran = "no taskset" if job.taskset is None else f"taskset {bounded(job.taskset)!r}"
        raise ApiError(400, f"job {job.id} ran {ran}, not {bounded(taskset)!r}", kind="bad_input")
    return job


def _item(one: Publication) -> PublicationItem:
    return PublicationItem(
        id=as_uuid(one.id),
        taskset=one.taskset,
        job_id=one.job_id,
        title=one.title,
        actor=one.actor,
        published_at=iso_required(one.published_at),
    )
