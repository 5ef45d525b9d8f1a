"""Environments that are known here, over the API."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from hud.platform.identity import Reader
from hud.platform.registry import environments
from hud.platform.registry.environments import Build, Environment
from hud.platform.registry.naming import as_uuid, optional_uuid
from hud.platform.routes.asked import Id, Limit, Offset, Search, refusals
from hud.platform.services import services_of
from hud.platform.times import iso, iso_required

router = APIRouter(tags=["environments"])


class BuildItem(BaseModel):
    """A build of an environment."""

    id: UUID
    version: int
    status: str
    created_at: str
    ended_at: str | None


class EnvironmentItem(BaseModel):
    """One environment. `latest_build` is null until a build succeeded."""

    id: UUID
    name: str
    project_id: UUID | None
    latest_build: BuildItem | None
    created_at: str
    updated_at: str


class EnvironmentPage(BaseModel):
    """Environments."""

    items: list[EnvironmentItem]
    total: int


@router.get("/v2/registry", responses=refusals())
def list_environments(
    request: Request,
    caller: Reader,
    search: Search = "",
    sort_by: Annotated[Literal["name", "date"], Query()] = "name",
    limit: Limit = 100,
    offset: Offset = 0,
) -> EnvironmentPage:
    """List the team's environments, by name or the latest changed first."""
    with services_of(request).database.reading() as connection:
        found, total = environments.list_environments(
            connection,
            caller.team,
            search=search,
            by_date=sort_by == "date",
            limit=limit,
            offset=offset,
        )
    return EnvironmentPage(items=[_item(one) for one in found], total=total)


@router.get("/v2/registry/{environment_id}", responses=refusals(404))
def get_environment(request: Request, caller: Reader, environment_id: Id) -> EnvironmentItem:
    """Return one environment."""
    with services_of(request).database.reading() as connection:
        return _item(environments.find_environment(connection, caller.team, environment_id))


def _item(environment: Environment) -> EnvironmentItem:
    return EnvironmentItem(
        id=as_uuid(environment.id),
        name=environment.name,
        project_id=optional_uuid(environment.project_id),
        latest_build=None if environment.latest is None else _build(environment.latest),
        created_at=iso_required(environment.created_at),
        updated_at=iso_required(environment.updated_at),
    )


def _build(build: Build) -> BuildItem:
    return BuildItem(
        id=as_uuid(build.id),
        version=build.version,
        status=build.status,
        created_at=iso_required(build.created_at),
        ended_at=iso(build.ended_at),
    )
