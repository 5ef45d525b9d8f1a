"""The tasks of a taskset over the API: listed with their facets, one by one, and their versions."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from hud._core import json
from hud.platform.accounts import audit
from hud.platform.cursors import decode_cursor, encode_cursor
from hud.platform.errors import ApiError
from hud.platform.identity import Reader, Recorder
from hud.platform.registry import contents, tasksets
from hud.platform.registry.contents import TaskVersion, Wanted
from hud.platform.registry.differences import changed_paths
from hud.platform.registry.naming import as_uuid
from hud.platform.routes.asked import Cursor, Id, Limit, Search, Slug, Text, refusals
from hud.platform.routes.tasksets import ExportRecord
from hud.platform.services import services_of
from hud.platform.times import iso_required

router = APIRouter(prefix="/v2", tags=["tasksets"])

_PREVIEW_LENGTH = 400
_Named = Annotated[str, Field(max_length=500)]


class TaskItem(BaseModel):
    """A task of a taskset; `args_preview` is the beginning of its arguments as JSON."""

    slug: str
    env: str
    task_id: str
    version: int
    changed_at: str
    columns: dict[str, str]
    args_preview: str


class FacetValue(BaseModel):
    """A value, and how many tasks have it."""

    value: str
    count: int


class TaskFacets(BaseModel):
    """The commonest values of a whole taskset, or of its first 20,000 tasks."""

    env: list[FacetValue]
    task_id: list[FacetValue]
    columns: dict[str, list[FacetValue]]
    is_complete: bool


class TaskPage(BaseModel):
    """Tasks in order; `next_cursor` asks for the page after."""

    items: list[TaskItem]
    total: int
    next_cursor: str | None
    facets: TaskFacets | None


class TaskDetail(BaseModel):
    """One version of a task, whole."""

    slug: str
    version: int
    digest: str
    changed_at: str
    record: ExportRecord


class TaskVersionItem(BaseModel):
    """A version of a task, and the dotted places in which it differs from the one before."""

    version: int
    digest: str
    changed_at: str
    changed: list[str]


class TaskVersionPage(BaseModel):
    """The versions of a task, newest first; `next_cursor` asks for the page after."""

    slug: str
    items: list[TaskVersionItem]
    total: int
    next_cursor: str | None


class TasksArchived(BaseModel):
    """Tasks that were put away."""

    taskset_id: UUID
    slugs: list[str]


@router.get("/tasksets/{taskset_id}/tasks", responses=refusals(400, 404))
def list_tasks(
    request: Request,
    caller: Reader,
    taskset_id: Id,
    search: Search = "",
    env: Text = None,
    task_id: Text = None,
    column: Annotated[
        list[_Named] | None,
        Query(max_length=10, description="`name:value`: tasks whose column has this value."),
    ] = None,
    facets: bool = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> TaskPage:
    """List a taskset's tasks in order; `facets` also counts the values of the whole taskset."""
    after = 0 if cursor is None else decode_cursor(cursor, int)[0]
    wanted = Wanted(search, env, task_id, tuple(map(_column, column or ())))
    with services_of(request).database.reading() as connection:
        taskset = tasksets.find_taskset(connection, caller.team, taskset_id)
        found, total = contents.page_of_tasks(
            connection, caller.team, taskset.id, wanted, limit=limit, after=after
        )
        counted = contents.facets_of(connection, caller.team, taskset.id) if facets else None
    return TaskPage(
        items=[_task_item(task) for task in found],
        total=total,
        next_cursor=encode_cursor(found[-1].position) if len(found) == limit else None,
        facets=None if counted is None else _facets(counted),
    )


@router.delete("/tasksets/{taskset_id}/tasks", responses=refusals(404))
def archive_tasks(
    request: Request,
    caller: Recorder,
    taskset_id: Id,
    slug: Annotated[list[_Named], Query(max_length=100)],
) -> TasksArchived:
    """Take tasks out of a taskset; their versions stay, and an upload brings them back."""
    with services_of(request).database.writing() as connection:
        taskset = tasksets.find_taskset(connection, caller.team, taskset_id)
        gone = contents.archive_tasks(connection, caller.team, taskset.id, slug)
        if gone:
            tasksets.touch_taskset(connection, caller.team, taskset.id)
            audit.note(connection, caller.team, caller.name, "task.archive", taskset.id, slugs=gone)
    return TasksArchived(taskset_id=as_uuid(taskset.id), slugs=gone)


@router.get("/tasksets/{taskset_id}/task", responses=refusals(404))
def get_task(
    request: Request,
    caller: Reader,
    taskset_id: Id,
    slug: Slug,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> TaskDetail:
    """Return a task as it is now, or any one version of it."""
    with services_of(request).database.reading() as connection:
        taskset = tasksets.find_taskset(connection, caller.team, taskset_id)
        task = contents.find_task(connection, caller.team, taskset.id, slug, version)
    return TaskDetail(
        slug=task.slug,
        version=task.version,
        digest=task.digest,
        changed_at=iso_required(task.created_at),
        record=ExportRecord(**json.decode(task.record)),
    )


@router.get("/tasksets/{taskset_id}/task/versions", responses=refusals(400, 404))
def list_task_versions(
    request: Request,
    caller: Reader,
    taskset_id: Id,
    slug: Slug,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Cursor = None,
) -> TaskVersionPage:
    """List the versions of a task, and what changed with each."""
    before = None if cursor is None else decode_cursor(cursor, int)[0]
    with services_of(request).database.reading() as connection:
        taskset = tasksets.find_taskset(connection, caller.team, taskset_id)
        found, total = contents.versions_of(
            connection, caller.team, taskset.id, slug, limit=limit + 1, before=before
        )
    more = len(found) > limit
    records: list[dict[str, Any]] = [json.decode(version.record) for version in found]
    before_them: list[dict[str, Any]] = [*records[1:], {}]
    items = [
        TaskVersionItem(
            version=version.version,
            digest=version.digest,
            changed_at=iso_required(version.created_at),
            changed=changed_paths(older, newer),
        )
        for version, newer, older in zip(found[:limit], records, before_them, strict=False)
    ]
    return TaskVersionPage(
        slug=slug,
        items=items,
        total=total,
        next_cursor=encode_cursor(items[-1].version) if more else None,
    )


def _column(text: str) -> tuple[str, str]:
    name, found, value = text.partition(":")
    if not found:
        raise ApiError(400, "a column to filter by is name:value", kind="bad_input")
    return name, value


def _task_item(task: TaskVersion) -> TaskItem:
    record = json.decode(task.record)
    args = json.encode(record["args"]).decode()
    return TaskItem(
        slug=task.slug,
        env=task.env,
        task_id=task.task_id,
        version=task.version,
        changed_at=iso_required(task.created_at),
        columns=contents.columns_of(record),
        args_preview=args if len(args) <= _PREVIEW_LENGTH else f"{args[: _PREVIEW_LENGTH - 1]}…",
    )


def _facets(counted: contents.Facets) -> TaskFacets:
    return TaskFacets(
        env=_values(counted.env),
        task_id=_values(counted.task_id),
        columns={name: _values(counts) for name, counts in counted.columns.items()},
        is_complete=counted.is_complete,
    )


def _values(counts: Counter[str]) -> list[FacetValue]:
    return [FacetValue(value=value, count=count) for value, count in contents.commonest(counts)]
