"""Environments that are known here, and what their latest build says about its tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import Connection, Row, Select, and_, func, select

from hud._core import json
from hud._core.errors import bounded
from hud.platform.errors import not_found
from hud.platform.registry import tables
from hud.platform.registry.arguments import ArgumentCheck, Effort
from hud.platform.registry.naming import slugged, stored_id

_KNOWN_SHOWN = 10
_IN_ONE_QUERY = 500
_table, _builds = tables.environments, tables.builds


@dataclass(frozen=True, slots=True)
class Build:
    """The build an environment is at."""

    id: str
    version: int
    status: str
    created_at: int
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment; `latest` is None until a build of it succeeded."""

    id: str
    name: str
    project_id: str | None
    created_at: int
    updated_at: int
    latest: Build | None


@dataclass(slots=True)
class Manifest:
    """What a build said it offers: task ids, and a schema of arguments where it gave one."""

    env: str
    version: int
    tasks: dict[str, ArgumentCheck | None] = field(default_factory=dict[str, Any])

    def problem(self, task_id: str, args: Mapping[str, Any], effort: Effort) -> str | None:
        """Return why it would refuse this task, as half a sentence; None when it would not."""
        if task_id not in self.tasks:
            known = ", ".join(bounded(name, 60) for name in list(self.tasks)[:_KNOWN_SHOWN])
            more = ", …" if len(self.tasks) > _KNOWN_SHOWN else ""
            return (
                f"environment {self.env!r} (version {self.version}) has no task "
                f"{bounded(task_id)!r}; it has: {known or 'none'}{more}"
            )
        check = self.tasks[task_id]
        said = None if check is None else check.problem(args, effort)
        return None if said is None else f"{self.env}:{task_id}: {said}"


def list_environments(
    connection: Connection,
    team: str,
    *,
    search: str = "",
    by_date: bool = False,
    limit: int = 100,
    offset: int = 0,
) -> tuple[list[Environment], int]:
    """Return environments whose name holds `search`, and how many there are in all."""
    wanted = _table.c.team == team
    if search:
        wanted &= func.lower(_table.c.name).contains(search.lower(), autoescape=True)
    total = connection.execute(select(func.count()).select_from(_table).where(wanted)).scalar()
    order = (_table.c.updated_at.desc(), _table.c.id) if by_date else (_table.c.name,)
    rows = connection.execute(
        _with_latest().where(wanted).order_by(*order).limit(limit).offset(offset)
    )
    return [_environment(row) for row in rows], int(total or 0)


def find_environment(connection: Connection, team: str, environment_id: str) -> Environment:
    """Return the environment with this id, dashed or plain.

    Raises:
        ApiError: with status 404, when the team has none.
    """
    wanted = stored_id("environment", environment_id)
    row = connection.execute(
        _with_latest().where(_table.c.team == team, _table.c.id == wanted)
    ).one_or_none()
    if row is None:
        not_found("environment", environment_id)
    return _environment(row)


def read_manifests(connection: Connection, team: str, names: Iterable[str]) -> dict[str, Manifest]:
    """Return the manifests of the latest builds of these environments, where they are known."""
    wanted = sorted({slugged(name) for name in names})
    found: dict[str, Manifest] = {}
    for start in range(0, len(wanted), _IN_ONE_QUERY):
        rows = connection.execute(
            select(_table.c.name, _builds.c.version, _builds.c.manifest)
            .join(_builds, _IS_LATEST)
            .where(
                _table.c.team == team,
                _table.c.name.in_(wanted[start : start + _IN_ONE_QUERY]),
                _builds.c.manifest.is_not(None),
            )
        )
        for name, version, text in rows:
            if (manifest := _manifest(name, version, text)) is not None:
                found[name] = manifest
    return found


_IS_LATEST = and_(
    _builds.c.team == _table.c.team,
    _builds.c.environment_id == _table.c.id,
    _builds.c.version == _table.c.latest_version,
)


def _with_latest() -> Select[Any]:
    own = (_table.c[name] for name in ("id", "name", "project_id", "created_at", "updated_at"))
    build = (
        _builds.c[name].label(f"build_{name}")
        for name in ("id", "version", "status", "created_at", "ended_at")
    )
    return select(*own, *build).outerjoin(_builds, _IS_LATEST)


def _environment(row: Row[Any]) -> Environment:
    latest = (
        None
        if row.build_id is None
        else Build(
            row.build_id,
            row.build_version,
            row.build_status,
            row.build_created_at,
            row.build_ended_at,
        )
    )
    return Environment(row.id, row.name, row.project_id, row.created_at, row.updated_at, latest)


def _manifest(name: str, version: int, text: str) -> Manifest | None:
    """Read a manifest; one that says nothing about tasks is as good as none."""
    try:
        document: Any = json.decode(text)
    except ValueError:
        return None
    rows: Any = (
        cast("dict[str, Any]", document).get("tasks") if isinstance(document, dict) else None
    )
    if not isinstance(rows, list):
        return None
    manifest = Manifest(name, version)
    for row in cast("list[Any]", rows):
        if not isinstance(row, dict):
            continue
        task = cast("dict[str, Any]", row)
        schema: Any = task.get("args")
        if isinstance(task.get("id"), str):
            manifest.tasks[task["id"]] = (
                ArgumentCheck(cast("dict[str, Any]", schema))
                if isinstance(schema, dict) and "type" in schema
                else None
            )
    return manifest
