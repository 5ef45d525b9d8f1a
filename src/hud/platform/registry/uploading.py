"""Taking an upload in: new tasks, changed ones as new versions, everything else as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, and_, bindparam, func, insert, select

from hud.platform.accounts import audit
from hud.platform.database import Database, now_us
from hud.platform.identity import Caller
from hud.platform.registry import tables
from hud.platform.registry.arguments import Effort
from hud.platform.registry.environments import read_manifests
from hud.platform.registry.incoming import IncomingTask, Problems, Upload
from hud.platform.registry.naming import plain_name, slugged
from hud.platform.registry.projects import find_project
from hud.platform.registry.tasksets import (
    Taskset,
    add_taskset,
    find_taskset,
    hold_taskset,
    taskset_or_none,
    touch_taskset,
)
from hud.platform.registry.transactions import settled

_IN_ONE_QUERY = 500
_tasks, _versions = tables.tasks, tables.task_versions


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload did."""

    taskset: Taskset
    created: int
    updated: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """The latest version of a task; `is_current` is False for one that was put away."""

    version: int
    digest: str
    is_current: bool


def take_upload(database: Database, caller: Caller, upload: Upload) -> Uploaded:
    """Keep what is new or changed in an upload, all of it or nothing; blocks.

    A project that is named places a taskset that this makes; it moves none.

    Raises:
        ApiError: with status 400, 403 or 404, when it cannot be kept.
    """
    team = caller.team
    with database.reading() as connection:
        taskset = _target(connection, team, upload)
        if upload.project_id is not None:
            find_project(connection, team, upload.project_id)
        known = {} if taskset is None else _latest(connection, team, taskset.id, upload.tasks)
        changed = [task for task in upload.tasks if not _is_same(task, known.get(task.slug))]
        # Before the transaction that writes, since it may take a while.
        _check_against_manifests(connection, team, changed)

    def keep(connection: Connection) -> Uploaded:
        taskset = _target(connection, team, upload) or add_taskset(
            connection, team, upload.taskset_name or "", upload.project_id
        )
        hold_taskset(connection, team, taskset.id)
        created, updated = _keep(connection, team, taskset.id, upload.tasks)
        if created or updated:
            touch_taskset(connection, team, taskset.id)
            audit.note(
                connection,
                team,
                caller.name,
                "taskset.upload",
                taskset.id,
                name=taskset.name,
                created=created,
                updated=updated,
            )
        return Uploaded(taskset, created, updated, len(upload.tasks) - created - updated)

    return settled(database, keep)


def _target(connection: Connection, team: str, upload: Upload) -> Taskset | None:
    if upload.taskset_id is not None:
        return find_taskset(connection, team, upload.taskset_id)
    return taskset_or_none(connection, team, plain_name("taskset", upload.taskset_name or ""))


def _is_same(task: IncomingTask, kept: _Kept | None) -> bool:
    return kept is not None and kept.is_current and kept.digest == task.digest


def _keep(
    connection: Connection, team: str, taskset_id: str, tasks: Sequence[IncomingTask]
) -> tuple[int, int]:
    """Write what differs; return how many tasks are new in the taskset, and how many changed."""
    known = _latest(connection, team, taskset_id, tasks)
    position = connection.execute(
        select(func.coalesce(func.max(_tasks.c.position), 0)).where(_in(_tasks, team, taskset_id))
    ).scalar_one()
    now = now_us()
    here = {"team": team, "taskset_id": taskset_id}
    versions: list[dict[str, Any]] = []
    added: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    for task in tasks:
        kept = known.get(task.slug)
        if _is_same(task, kept):
            continue
        version = 1 if kept is None else kept.version + (kept.digest != task.digest)
        if kept is None or version != kept.version:
            row = {"slug": task.slug, "version": version, "env": task.env, "task_id": task.task_id}
            content = {"record": task.record, "digest": task.digest, "created_at": now}
            versions.append({**here, **row, **content})
        if kept is not None and kept.is_current:
            moved.append({"a_slug": task.slug, "a_version": version})
        else:
            position += 1
            added.append({**here, "slug": task.slug, "version": version, "position": position})
    if versions:
        connection.execute(insert(_versions), versions)
    if added:
        connection.execute(insert(_tasks), added)
    if moved:
        update = _tasks.update().where(
            _in(_tasks, team, taskset_id), _tasks.c.slug == bindparam("a_slug")
        )
        connection.execute(update.values(version=bindparam("a_version")), moved)
    return len(added), len(moved)


def _latest(
    connection: Connection, team: str, taskset_id: str, tasks: Sequence[IncomingTask]
) -> dict[str, _Kept]:
    """Return the latest version of each of these tasks that was ever in the taskset."""
    found: dict[str, _Kept] = {}
    for slugs in _pieces([task.slug for task in tasks]):
        newest = (
            select(_versions.c.slug, func.max(_versions.c.version).label("version"))
            .where(_in(_versions, team, taskset_id), _versions.c.slug.in_(slugs))
            .group_by(_versions.c.slug)
            .subquery()
        )
        rows = connection.execute(
            select(_versions.c.slug, _versions.c.version, _versions.c.digest, _tasks.c.version)
            .join(
                newest,
                and_(_versions.c.slug == newest.c.slug, _versions.c.version == newest.c.version),
            )
            .outerjoin(
                _tasks,
                and_(_in(_tasks, team, taskset_id), _tasks.c.slug == _versions.c.slug),
            )
            .where(_in(_versions, team, taskset_id))
        )
        for slug, version, digest, current in rows:
            found[slug] = _Kept(version, digest, current is not None)
    return found


def _check_against_manifests(
    connection: Connection, team: str, tasks: Sequence[IncomingTask]
) -> None:
    asks = [
        (task.slug, env, task_id, args)
        for task in tasks
        for env, task_id, args in ((task.env, task.task_id, task.args), *_of_verifier(task))
    ]
    manifests = read_manifests(connection, team, {env for _, env, _, _ in asks})
    if not manifests:
        return
    problems, effort = Problems(), Effort()
    for slug, env, task_id, args in asks:
        manifest = manifests.get(slugged(env))
        said = None if manifest is None else manifest.problem(task_id, args, effort)
        if said is not None:
            problems.add(f"task {slug!r}: {said}")
    problems.refuse()


def _of_verifier(task: IncomingTask) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the environment, task id and arguments of the task's verifier, if it names them."""
    row = task.verifier or {}
    env, task_id, args = row.get("env"), row.get("id"), row.get("args", {})
    if isinstance(env, str) and isinstance(task_id, str) and isinstance(args, dict):
        yield env, task_id, cast("dict[str, Any]", args)


def _in(table: Any, team: str, taskset_id: str) -> Any:
    return and_(table.c.team == team, table.c.taskset_id == taskset_id)


def _pieces(slugs: Sequence[str]) -> Iterable[Sequence[str]]:
    return (slugs[at : at + _IN_ONE_QUERY] for at in range(0, len(slugs), _IN_ONE_QUERY))
