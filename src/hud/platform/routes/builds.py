"""Builds over the API: upload a context, have it built, follow its log, see what came of it."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from hud.packaging.lock import Lock
from hud.platform.builds import queue
from hud.platform.builds.asking import Wanted, trigger
from hud.platform.builds.building import Builds
from hud.platform.builds.contexts import check_upload, note_uploaded, open_upload
from hud.platform.builds.following import frames_of
from hud.platform.builds.lines import read_lines
from hud.platform.builds.records import BuildRecord, find_build
from hud.platform.errors import ApiError, error_response
from hud.platform.identity import Reader, Recorder, caller_of, check
from hud.platform.registry.environments import find_environment
from hud.platform.registry.naming import as_uuid, optional_uuid
from hud.platform.registry.transactions import settled
from hud.platform.routes.asked import Id, refusals
from hud.platform.services import Services, services_of
from hud.platform.times import iso, iso_required

router = APIRouter(prefix="/v2/builds", tags=["builds"])

DENIED = 4003
"""Closes the log of a build that is not the caller's, for existing clients: their key is in the
address, and they take a refused handshake for a broken network."""
_GOING_AWAY = 1001
_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
_Values = Annotated[dict[str, str], Field(max_length=500)]
_CONTEXT = {
    "requestBody": {
        "required": True,
        "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Upload(BaseModel):
    """Where to put the context of a new build: once, within an hour, without a key."""

    upload_url: str
    build_id: UUID


class Uploaded(BaseModel):
    """A context has arrived."""

    build_id: UUID
    size_bytes: int


class BuildWanted(BaseModel):
    """What is to be built, of a context that was uploaded.

    Attributes:
        name: The environment's name, as its code declares it. Known already, it gets a new version.
        environment_variables: What its rollouts are given; others that it has are kept.
        build_args: What the build may use and keep.
        build_secrets: What the build may use and must not keep, by id.
    """

    model_config = ConfigDict(extra="ignore")

    build_id: Annotated[str, Field(max_length=64)]
    name: _Name
    source: Literal["direct"] = "direct"
    registry_id: Annotated[str, Field(max_length=64)] | None = None
    project_id: Annotated[str, Field(max_length=64)] | None = None
    no_cache: bool = False
    runtime_provider: Annotated[str, Field(max_length=64)] | None = None
    runtime_config: dict[str, Any] | None = None
    environment_variables: _Values = Field(default_factory=dict[str, str])
    build_args: _Values = Field(default_factory=dict[str, str])
    build_secrets: _Values = Field(default_factory=dict[str, str])


class Triggered(BaseModel):
    """A build is in the queue; `registry_id` is its environment."""

    id: UUID
    registry_id: UUID
    status: str


class BuildState(BaseModel):
    """What has become of a build, as existing clients ask for it."""

    id: UUID
    status: str
    version: int | None
    duration_seconds: float | None
    image_name: str | None
    uri: str | None
    registry_id: UUID | None
    registry_name: str | None
    error_message: str | None
    manifest: dict[str, Any] | None
    lock: dict[str, Any] | None


class BuildRow(BaseModel):
    """One build. `actor` asked for it; `started_at` is null while it waits."""

    id: UUID
    registry_id: UUID | None
    version: int | None
    status: str
    actor: str | None
    uri: str | None
    image_name: str | None
    error_message: str | None
    size_bytes: int | None
    duration_seconds: float | None
    created_at: str
    triggered_at: str | None
    started_at: str | None
    ended_at: str | None

    @classmethod
    def of(cls, record: BuildRecord) -> BuildRow:
        """Return a build as listings show it."""
        return cls(**_row(record))


class BuildDetail(BuildRow):
    """One build, with what was asked for (the names of values, never a value) and what came of it.

    Attributes:
        asked: The name in the code, and `no_cache`, `runtime_config`, and the names of
            `environment_variables`, `build_args` and `build_secrets` where there are some.
    """

    registry_name: str | None
    asked: dict[str, Any]
    manifest: dict[str, Any] | None
    lock: dict[str, Any] | None


class LogLine(BaseModel):
    """One line of a log."""

    seq: int
    at: str
    text: str


class BuildLines(BaseModel):
    """Lines of a log; `next_after` is where the rest begins, null when this is all so far."""

    lines: list[LogLine]
    next_after: int | None


def builds_of(request: Request | WebSocket) -> Builds:
    """Return what the app that `request` came to builds."""
    return request.app.state.builds


@router.post("/upload-url", responses=refusals())
def upload_url(request: Request, caller: Recorder) -> Upload:
    """Begin a build: say where its context is to be put."""
    services = services_of(request)
    with services.database.writing() as connection:
        build_id, secret = open_upload(connection, caller.team, caller.name)
    origin = services.config.public_url or str(request.base_url)
    return Upload(
        upload_url=f"{origin.rstrip('/')}/v2/builds/{build_id}/context?token={secret}",
        build_id=as_uuid(build_id),
    )


@router.put("/{build_id}/context", responses=refusals(404, 413), openapi_extra=_CONTEXT)
async def upload(
    request: Request, build_id: Id, token: Annotated[str, Query(max_length=200)]
) -> Uploaded:
    """Take the context of a build, a gzipped tar; the token in the address is good for one."""
    database = services_of(request).database

    def find() -> str:
        with database.reading() as connection:
            return check_upload(connection, build_id, token)

    stored = await run_in_threadpool(find)

    def close(size_bytes: int) -> None:
        with database.writing() as connection:
            note_uploaded(connection, stored, token, size_bytes)

    size = await builds_of(request).contexts.receive(stored, request.stream(), close)
    return Uploaded(build_id=as_uuid(stored), size_bytes=size)


@router.post("/trigger", responses=refusals(400, 404, 409))
def trigger_build(request: Request, caller: Recorder, body: BuildWanted) -> Triggered:
    """Have a context built. The same name again is a new version of the same environment."""
    services = services_of(request)
    wanted = Wanted(**body.model_dump(exclude={"source"}))
    record = settled(
        services.database,
        lambda connection: trigger(connection, services.secrets, caller.team, caller.name, wanted),
    )
    assert record.environment_id is not None
    builds_of(request).wake()
    return Triggered(
        id=as_uuid(record.id),
        registry_id=as_uuid(record.environment_id),
        status=record.status.told.value,
    )


@router.get("/{build_id}", responses=refusals(404))
def get_build(request: Request, caller: Reader, build_id: Id) -> BuildDetail:
    """Return one build."""
    record, name = _found(services_of(request), caller.team, build_id)
    return BuildDetail(
        **_row(record),
        registry_name=name,
        asked=record.spec,
        manifest=record.manifest,
        lock=record.lock,
    )


@router.get("/{build_id}/status", responses=refusals(404))
def build_status(request: Request, caller: Reader, build_id: Id) -> BuildState:
    """Return what has become of a build."""
    record, name = _found(services_of(request), caller.team, build_id)
    return BuildState(
        id=as_uuid(record.id),
        status=record.status.told.value,
        version=record.version,
        duration_seconds=record.duration_s,
        image_name=record.image,
        uri=record.uri,
        registry_id=optional_uuid(record.environment_id),
        registry_name=name,
        error_message=record.error,
        manifest=record.manifest,
        lock=_lock(record),
    )


@router.get("/{build_id}/log", responses=refusals(404))
def build_log(
    request: Request,
    caller: Reader,
    build_id: Id,
    after: Annotated[int, Query(ge=-1, le=2**31)] = -1,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> BuildLines:
    """Return what a build said, after the line numbered `after`."""
    with services_of(request).database.reading() as connection:
        record = find_build(connection, caller.team, build_id)
        found = read_lines(connection, caller.team, record.id, after=after, limit=limit)
    lines = [LogLine(seq=each.seq, at=iso_required(each.at), text=each.text) for each in found]
    return BuildLines(lines=lines, next_after=found[-1].seq if len(found) == limit else None)


@router.post("/{build_id}/cancel", responses=refusals(404))
def cancel_build(request: Request, caller: Recorder, build_id: Id) -> BuildState:
    """Stop a build; one that is over stays what it is."""
    services = services_of(request)
    with services.database.writing() as connection:
        record = queue.cancel(connection, find_build(connection, caller.team, build_id))
    if record.status.is_over:
        builds_of(request).contexts.forget(record.id)
    builds_of(request).stop_build(record.id)
    return build_status(request, caller, build_id)


@router.websocket("/{build_id}/logs")
async def follow_log(
    socket: WebSocket, build_id: str, api_key: Annotated[str | None, Query(max_length=512)] = None
) -> None:
    """Send a build's log as it is written, from its first line, and always how it ended."""
    services: Services = socket.app.state.services
    try:
        record = await run_in_threadpool(_readable, socket, services, api_key, build_id)
    except ApiError as error:
        if api_key is None:
            refusal = error_response(error.status, error.kind, error.message, error.hint)
            await socket.send_denial_response(refusal)
            return
        await socket.accept()
        await socket.close(DENIED, error.message[:100])
        return
    await socket.accept()
    frames = frames_of(services.database, builds_of(socket), record.team, record.id)
    with contextlib.suppress(WebSocketDisconnect):
        async with contextlib.aclosing(frames):
            ended = False
            async for frame in frames:
                await socket.send_json(frame)
                ended = frame["type"] in ("complete", "error")
        await socket.close(1000 if ended else _GOING_AWAY)


def _readable(
    socket: WebSocket, services: Services, api_key: str | None, build_id: str
) -> BuildRecord:
    """Return the build, for a caller who may read it.

    Raises:
        ApiError: for anybody else.
    """
    caller = caller_of(socket, query_key=api_key)
    check(caller, "read")
    with services.database.reading() as connection:
        return find_build(connection, caller.team, build_id)


def _found(services: Services, team: str, build_id: str) -> tuple[BuildRecord, str | None]:
    """Return a build and the name of its environment."""
    with services.database.reading() as connection:
        record = find_build(connection, team, build_id)
        if record.environment_id is None:
            return record, None
        return record, find_environment(connection, team, record.environment_id).name


def _lock(record: BuildRecord) -> dict[str, Any] | None:
    """Return a lock in the shape that existing clients show, with all it holds besides."""
    if record.lock is None:
        return None
    try:
        return {**record.lock, **Lock.model_validate(record.lock).summary()}
    except ValueError:
        return record.lock


def _row(record: BuildRecord) -> dict[str, Any]:
    return {
        "id": as_uuid(record.id),
        "registry_id": optional_uuid(record.environment_id),
        "version": record.version,
        "status": record.status.told.value,
        "actor": record.actor,
        "uri": record.uri,
        "image_name": record.image,
        "error_message": record.error,
        "size_bytes": record.size_bytes,
        "duration_seconds": record.duration_s,
        "created_at": iso_required(record.created_at),
        "triggered_at": iso(record.triggered_at),
        "started_at": iso(record.started_at),
        "ended_at": iso(record.ended_at),
    }
