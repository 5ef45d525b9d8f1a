"""Tasksets over the API: what clients sync, and what a page about them shows."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from hud.platform.accounts import audit
from hud.platform.cursors import decode_cursor, encode_cursor
from hud.platform.identity import Admin, Caller, Reader, Recorder
from hud.platform.ingest.bodies import Gate
from hud.platform.ingest.reporting import intake_of
from hud.platform.registry import contents, tasksets
from hud.platform.registry.incoming import read_upload
from hud.platform.registry.naming import as_uuid, optional_uuid
from hud.platform.registry.tasksets import Taskset
from hud.platform.registry.transactions import settled
from hud.platform.registry.uploading import Uploaded, take_upload
from hud.platform.routes.asked import Cursor, Id, Limit, Search, Text, raw_body, refusals
from hud.platform.services import services_of
from hud.platform.times import iso_required

router = APIRouter(prefix="/v2", tags=["tasksets"])

UPLOADS_TOGETHER_BYTES = 64 * 1024 * 1024
"""How much is read apart at a time: a task takes several times its text in memory."""


class TasksetName(BaseModel):
    """A taskset that was asked for by name."""

    taskset_id: UUID
    name: str


class TasksetRecord(BaseModel):
    """One taskset, and whether the caller may change it."""

    id: UUID
    name: str
    project_id: UUID | None
    can_edit: bool
    task_count: int
    created_at: str
    updated_at: str


class TasksetPage(BaseModel):
    """Tasksets, the latest changed first; `next_cursor` asks for the page after."""

    items: list[TasksetRecord]
    total: int
    next_cursor: str | None


class TasksetWanted(BaseModel):
    """A taskset to make; without a project it comes into the default one."""

    name: str = Field(min_length=1, max_length=200)
    project_id: UUID | None = None


class ExportRecord(BaseModel):
    """A task as it was uploaded: what was not set is not there."""

    model_config = ConfigDict(extra="allow")

    env: str
    scenario: str
    name: str
    args: dict[str, Any]
    validation: list[Any] | None = None
    agent_config: dict[str, Any] | None = None
    columns: dict[str, Any] | None = None
    runtime_config: dict[str, Any] | None = None
    verifier: dict[str, Any] | None = None


class TasksetExport(BaseModel):
    """A whole taskset, its tasks in order."""

    name: str
    tasks: list[ExportRecord]


class EnvironmentName(BaseModel):
    """An environment by name."""

    name: str


class UploadItem(BaseModel):
    """A task to keep. Fields that are not named here are kept and given back too."""

    model_config = ConfigDict(extra="allow")

    name: str | None = Field(default=None, description="Its slug; made from the rest if absent.")
    env: EnvironmentName | str
    task_id: str
    args: dict[str, Any] = {}
    validation: list[Any] | None = None
    agent_config: dict[str, Any] | None = None
    columns: dict[str, Any] | None = None
    runtime_config: dict[str, Any] | None = None
    verifier: dict[str, Any] | None = None


class UploadWanted(BaseModel):
    """Tasks to keep in a taskset, which is made when there is none of that name."""

    taskset_name: str | None = None
    taskset_id: UUID | None = None
    project_id: UUID | None = None
    tasks: list[UploadItem]


class UploadDone(BaseModel):
    """What an upload did."""

    taskset_id: UUID
    taskset_name: str
    tasks_created: int
    tasks_updated: int
    tasks_unchanged: int


@router.get("/tasksets", responses=refusals(400, 404))
def list_tasksets(
    request: Request,
    caller: Reader,
    search: Search = "",
    project_id: Text = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> TasksetPage:
    """List the team's tasksets."""
    before = None if cursor is None else decode_cursor(cursor, int, str)
    with services_of(request).database.reading() as connection:
        found, total = tasksets.page_of_tasksets(
            connection,
            caller.team,
            search=search,
            project_id=project_id,
            limit=limit,
            before=before and (before[0], before[1]),
        )
        items = _records(connection, caller, found)
    last = found[-1] if len(found) == limit else None
    return TasksetPage(
        items=items,
        total=total,
        next_cursor=None if last is None else encode_cursor(last.updated_at, last.id),
    )


@router.post("/tasksets", status_code=201, responses=refusals(400, 404, 409))
def create_taskset(request: Request, caller: Recorder, wanted: TasksetWanted) -> TasksetRecord:
    """Make an empty taskset."""
    project_id = None if wanted.project_id is None else wanted.project_id.hex

    def make(connection: Connection) -> TasksetRecord:
        made = tasksets.create_taskset(connection, caller.team, wanted.name, project_id)
        audit.note(connection, caller.team, caller.name, "taskset.create", made.id, name=made.name)
        return _records(connection, caller, [made])[0]

    return settled(services_of(request).database, make)


@router.get("/tasksets/by-name/{name:path}", responses=refusals(404))
def taskset_by_name(
    request: Request, caller: Reader, name: Annotated[str, Path(max_length=500)]
) -> TasksetName:
    """Find a taskset by its name, which may hold a percent-encoded slash."""
    with services_of(request).database.reading() as connection:
        found = tasksets.named_taskset(connection, caller.team, name)
    return TasksetName(taskset_id=as_uuid(found.id), name=found.name)


@router.get("/tasksets/{taskset_id}", responses=refusals(404))
def get_taskset(request: Request, caller: Reader, taskset_id: Id) -> TasksetRecord:
    """Return one taskset."""
    with services_of(request).database.reading() as connection:
        found = tasksets.find_taskset(connection, caller.team, taskset_id)
        return _records(connection, caller, [found])[0]


@router.delete("/tasksets/{taskset_id}", responses=refusals(404))
def archive_taskset(request: Request, caller: Admin, taskset_id: Id) -> TasksetName:
    """Put a taskset away: its name is free again, what ran on it stays."""
    with services_of(request).database.writing() as connection:
        found = tasksets.archive_taskset(connection, caller.team, taskset_id)
        audit.note(
            connection, caller.team, caller.name, "taskset.archive", found.id, name=found.name
        )
    return TasksetName(taskset_id=as_uuid(found.id), name=found.name)


@router.get(
    "/tasksets/{taskset_id}/export",
    response_model=None,
    responses={**refusals(404), 200: {"model": TasksetExport}},
)
def export_taskset(request: Request, caller: Reader, taskset_id: Id) -> Response:
    """Return every task of a taskset as it was uploaded, in a stream."""
    database = services_of(request).database
    with database.reading() as connection:
        found = tasksets.find_taskset(connection, caller.team, taskset_id)
    parts = contents.export_parts(database, caller.team, found)
    return StreamingResponse(parts, media_type="application/json")


@router.post(
    "/tasks/upload",
    responses=refusals(400, 404, 413),
    openapi_extra=raw_body(UploadWanted),
)
async def upload_tasks(request: Request, caller: Recorder) -> UploadDone:
    """Keep tasks: new ones, and a new version of each that changed; all of them or none."""
    limit = services_of(request).config.body_limit_bytes
    gate: Gate = request.app.state.uploads
    async with intake_of(request).bodies.read(request, limit) as body, gate.hold(len(body)):
        done = await run_in_threadpool(_upload, request, caller, body)
    return UploadDone(
        taskset_id=as_uuid(done.taskset.id),
        taskset_name=done.taskset.name,
        tasks_created=done.created,
        tasks_updated=done.updated,
        tasks_unchanged=done.unchanged,
    )


def _upload(request: Request, caller: Caller, body: bytes) -> Uploaded:
    return take_upload(services_of(request).database, caller, read_upload(body))


def _records(connection: Connection, caller: Caller, found: list[Taskset]) -> list[TasksetRecord]:
    counts = tasksets.count_tasks(connection, caller.team, [taskset.id for taskset in found])
    return [
        TasksetRecord(
            id=as_uuid(taskset.id),
            name=taskset.name,
            project_id=optional_uuid(taskset.project_id),
            can_edit=caller.may("write"),
            task_count=counts.get(taskset.id, 0),
            created_at=iso_required(taskset.created_at),
            updated_at=iso_required(taskset.updated_at),
        )
        for taskset in found
    ]
