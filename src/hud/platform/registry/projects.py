"""Projects: what tasksets and environments are sorted into. Every team has a default one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from hud._core.errors import bounded
from hud._core.ids import new_id
from hud.platform.database import Database, now_us
from hud.platform.errors import ApiError, not_found
from hud.platform.registry import tables
from hud.platform.registry.naming import LONGEST_NAME, slugged, stored_id
from hud.platform.registry.transactions import settled

DEFAULT = "default"
_table = tables.projects
_COLUMNS = tuple(
    _table.c[name] for name in ("id", "name", "description", "is_default", "created_at")
)


@dataclass(frozen=True, slots=True)
class Project:
    """One project."""

    id: str
    name: str
    description: str | None
    is_default: bool
    created_at: int


def find_project(connection: Connection, team: str, project_id: str) -> Project:
    """Return the project with this id, dashed or plain.

    Raises:
        ApiError: with status 404, when the team has none.
    """
    wanted = stored_id("project", project_id)
    row = connection.execute(
        select(*_COLUMNS).where(_table.c.team == team, _table.c.id == wanted)
    ).one_or_none()
    if row is None:
        not_found("project", project_id)
    return _project(row)


def default_project(connection: Connection, team: str) -> Project:
    """Return the team's default project, made when there is none yet."""
    row = connection.execute(
        select(*_COLUMNS).where(_table.c.team == team, _table.c.is_default == 1)
    ).first()
    return _add(connection, team, DEFAULT, None, is_default=True) if row is None else _project(row)


def list_projects(
    database: Database, team: str, *, search: str = "", limit: int = 100, offset: int = 0
) -> tuple[list[Project], int]:
    """Return projects whose name holds `search`, by name, the default one first; and how many."""
    with database.reading() as connection:
        known = connection.execute(
            select(_table.c.id).where(_table.c.team == team, _table.c.is_default == 1)
        ).first()
    if known is None:
        settled(database, lambda connection: default_project(connection, team))
    mine = _table.c.team == team
    if search:
        mine &= func.lower(_table.c.name).contains(search.lower(), autoescape=True)
    with database.reading() as connection:
        total = connection.execute(select(func.count()).select_from(_table).where(mine)).scalar()
        rows = connection.execute(
            select(*_COLUMNS)
            .where(mine)
            .order_by(_table.c.is_default.desc(), _table.c.name)
            .limit(limit)
            .offset(offset)
        ).all()
    return [_project(row) for row in rows], int(total or 0)


def create_project(
    connection: Connection, team: str, name: str, description: str | None
) -> Project:
    """Make a project; `My Project` is called `my-project`.

    Raises:
        ApiError: with status 400 for a name without a letter or digit, 409 for one that is taken.
    """
    called = slugged(name)
    if not called or len(called) > LONGEST_NAME:
        raise ApiError(
            400,
            f"{bounded(name)!r} cannot be the name of a project",
            kind="bad_input",
            hint="letters, digits and dashes",
        )
    default_project(connection, team)
    taken = connection.execute(
        select(_table.c.id).where(_table.c.team == team, _table.c.name == called)
    ).first()
    if taken is not None:
        raise ApiError(409, f"there is a project named {called!r} already", kind="taken")
    return _add(connection, team, called, description, is_default=False)


def _add(
    connection: Connection, team: str, name: str, description: str | None, *, is_default: bool
) -> Project:
    project = Project(new_id(), name, description, is_default, now_us())
    connection.execute(
        insert(_table).values(
            team=team,
            id=project.id,
            name=name,
            description=description,
            is_default=int(is_default),
            created_at=project.created_at,
        )
    )
    return project


def _project(row: Row[Any]) -> Project:
    return Project(row.id, row.name, row.description, bool(row.is_default), row.created_at)
