"""Which jobs a team shows on the leaderboard of a taskset: published and unpublished by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, select

from hud._core.ids import is_id, new_id, normal_id
from hud.platform.database import now_us
from hud.platform.errors import not_found
from hud.platform.registry import tables

_table, _tasksets = tables.publications, tables.tasksets
_COLUMNS = tuple(
    _table.c[name] for name in ("id", "taskset", "job_id", "title", "actor", "published_at")
)


@dataclass(frozen=True, slots=True)
class Publication:
    """A job that is shown. `taskset` is the name it was recorded under."""

    id: str
    taskset: str
    job_id: str
    title: str | None
    actor: str
    published_at: int


def taskset_name(connection: Connection, team: str, name_or_id: str) -> str:
    """Return the name that jobs of a taskset carry: of one that is kept, or recorded by jobs only.

    Raises:
        ApiError: with status 404, for an id that no taskset of the team has.
    """
    plain = normal_id(name_or_id)
    if not is_id(plain):
        return name_or_id
    name = connection.execute(
        select(_tasksets.c.name).where(_tasksets.c.team == team, _tasksets.c.id == plain)
    ).scalar()
    if name is None:
        not_found("taskset", name_or_id)
    return str(name)


def published_jobs(connection: Connection, team: str, taskset: str) -> list[Publication]:
    """Return what is shown of a taskset, in the order it was published."""
    rows = connection.execute(
        select(*_COLUMNS)
        .where(_shown(team), _table.c.taskset == taskset)
        .order_by(_table.c.published_at, _table.c.id)
    )
    return [_publication(row) for row in rows]


def publish_job(
    connection: Connection, team: str, taskset: str, job_id: str, title: str | None, actor: str
) -> tuple[Publication, bool]:
    """Show a job, or give the one that is shown another title; return whether it is new."""
    this = and_(_shown(team), _table.c.taskset == taskset, _table.c.job_id == job_id)
    row = connection.execute(select(*_COLUMNS).where(this).with_for_update()).first()
    if row is not None:
        connection.execute(_table.update().where(this).values(title=title))
        row = connection.execute(select(*_COLUMNS).where(this)).one()
        return _publication(row), False
    made = Publication(new_id(), taskset, job_id, title, actor, now_us())
    connection.execute(
        insert(_table).values(
            team=team,
            id=made.id,
            taskset=taskset,
            job_id=job_id,
            title=title,
            actor=actor,
            published_at=made.published_at,
        )
    )
    return made, True


def unpublish_job(connection: Connection, team: str, taskset: str, job_id: str) -> Publication:
    """Show a job no more; that it was shown stays on record.

    Raises:
        ApiError: with status 404, when it is not shown.
    """
    this = and_(
        _shown(team), _table.c.taskset == taskset, _table.c.job_id == normal_id(job_id)[:64]
    )
    row = connection.execute(select(*_COLUMNS).where(this)).first()
    if row is None:
        not_found("published job", job_id)
    connection.execute(_table.update().where(this).values(unpublished_at=now_us()))
    return _publication(row)


def _shown(team: str) -> Any:
    return and_(_table.c.team == team, _table.c.unpublished_at.is_(None))


def _publication(row: Row[Any]) -> Publication:
    return Publication(row.id, row.taskset, row.job_id, row.title, row.actor, row.published_at)
