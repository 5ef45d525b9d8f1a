"""Tasksets by name and id: found, made, listed, put away. What is in them is in `tasks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, or_, select

from hud._core.ids import new_id
from hud.platform.database import now_us
from hud.platform.errors import ApiError, not_found
from hud.platform.registry import tables
from hud.platform.registry.naming import plain_name, stored_id
from hud.platform.registry.projects import default_project, find_project

_table = tables.tasksets
_COLUMNS = tuple(
    _table.c[name] for name in ("id", "name", "project_id", "created_at", "updated_at")
)


@dataclass(frozen=True, slots=True)
class Taskset:
    """One taskset. `updated_at` is when one of its tasks changed last."""

    id: str
    name: str
    project_id: str | None
    created_at: int
    updated_at: int


def find_taskset(connection: Connection, team: str, taskset_id: str) -> Taskset:
    """Return the taskset with this id, dashed or plain.

    Raises:
        ApiError: with status 404, when the team has none.
    """
    row = connection.execute(
        select(*_COLUMNS).where(_here(team), _table.c.id == stored_id("taskset", taskset_id))
    ).one_or_none()
    if row is None:
        not_found("taskset", taskset_id)
    return _taskset(row)


def named_taskset(connection: Connection, team: str, name: str) -> Taskset:
    """Return the taskset of this name.

    Raises:
        ApiError: with status 404, when the team has none.
    """
    found = taskset_or_none(connection, team, name)
    if found is None:
        not_found("taskset", name)
    return found


def taskset_or_none(connection: Connection, team: str, name: str) -> Taskset | None:
    """Return the taskset of this name, None when the team has none."""
    row = connection.execute(
        select(*_COLUMNS).where(_here(team), _table.c.name == name.strip().replace("\0", "\ufffd"))
    ).one_or_none()
    return None if row is None else _taskset(row)


def create_taskset(connection: Connection, team: str, name: str, project_id: str | None) -> Taskset:
    """Make an empty taskset, in the default project when no other is named.

    Raises:
        ApiError: with status 400 for a name that cannot be one, 404 for an unknown project, 409
            for a name that is taken.
    """
    called = plain_name("taskset", name)
    if taskset_or_none(connection, team, called) is not None:
        raise ApiError(
            409,
            f"there is a taskset named {called!r} already",
            kind="taken",
            hint="upload tasks to it: hud sync tasks NAME",
        )
    return add_taskset(connection, team, called, project_id)


def add_taskset(connection: Connection, team: str, name: str, project_id: str | None) -> Taskset:
    """Make an empty taskset of a name that was looked at.

    Raises:
        ApiError: with status 404, for an unknown project.
        IntegrityError: when somebody made one of this name meanwhile.
    """
    called = plain_name("taskset", name)
    project = (
        default_project(connection, team)
        if project_id is None
        else find_project(connection, team, project_id)
    )
    now = now_us()
    taskset = Taskset(new_id(), called, project.id, now, now)
    connection.execute(
        insert(_table).values(
            team=team,
            id=taskset.id,
            name=called,
            project_id=project.id,
            created_at=now,
            updated_at=now,
        )
    )
    return taskset


def page_of_tasksets(
    connection: Connection,
    team: str,
    *,
    search: str = "",
    project_id: str | None = None,
    limit: int = 100,
    before: tuple[int, str] | None = None,
) -> tuple[list[Taskset], int]:
    """Return up to `limit` tasksets, the latest changed first, and how many there are in all.

    `before` is the `updated_at` and the id of the last one of the page before.
    """
    wanted = _here(team)
    if search:
        wanted &= func.lower(_table.c.name).contains(search.lower(), autoescape=True)
    if project_id is not None:
        wanted &= _table.c.project_id == stored_id("project", project_id)
    total = connection.execute(select(func.count()).select_from(_table).where(wanted)).scalar()
    query = select(*_COLUMNS).where(wanted)
    if before is not None:
        at, taskset_id = before
        query = query.where(
            or_(
                _table.c.updated_at < at,
                and_(_table.c.updated_at == at, _table.c.id < taskset_id),
            )
        )
    rows = connection.execute(
        query.order_by(_table.c.updated_at.desc(), _table.c.id.desc()).limit(limit)
    )
    return [_taskset(row) for row in rows], int(total or 0)


def count_tasks(connection: Connection, team: str, taskset_ids: Sequence[str]) -> Mapping[str, int]:
    """Return how many tasks each of these tasksets has; one without any is not in it."""
    tasks = tables.tasks
    rows = connection.execute(
        select(tasks.c.taskset_id, func.count())
        .where(tasks.c.team == team, tasks.c.taskset_id.in_(taskset_ids))
        .group_by(tasks.c.taskset_id)
    )
    return {row[0]: row[1] for row in rows}


def archive_taskset(connection: Connection, team: str, taskset_id: str) -> Taskset:
    """Put a taskset away: its name is free again, its tasks and their versions stay kept.

    Raises:
        ApiError: with status 404, when the team has none.
    """
    taskset = find_taskset(connection, team, taskset_id)
    connection.execute(
        _table.update()
        .where(_table.c.team == team, _table.c.id == taskset.id)
        .values(archived_at=now_us())
    )
    return taskset


def touch_taskset(connection: Connection, team: str, taskset_id: str) -> None:
    """Note that tasks of it changed just now."""
    connection.execute(
        _table.update()
        .where(_table.c.team == team, _table.c.id == taskset_id)
        .values(updated_at=now_us())
    )


def hold_taskset(connection: Connection, team: str, taskset_id: str) -> None:
    """Keep everybody else from changing its tasks until the transaction ends."""
    connection.execute(
        select(_table.c.id)
        .where(_table.c.team == team, _table.c.id == taskset_id)
        .with_for_update()
    )


def _here(team: str) -> Any:
    return and_(_table.c.team == team, _table.c.archived_at.is_(None))


def _taskset(row: Row[Any]) -> Taskset:
    return Taskset(row.id, row.name, row.project_id, row.created_at, row.updated_at)
