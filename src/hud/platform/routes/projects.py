"""Projects over the API."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from hud.platform.accounts import audit
from hud.platform.identity import Caller, Reader, Recorder
from hud.platform.registry import projects
from hud.platform.registry.naming import as_uuid
from hud.platform.registry.projects import Project
from hud.platform.registry.transactions import settled
from hud.platform.routes.asked import Id, Limit, Offset, Search, refusals
from hud.platform.services import services_of
from hud.platform.times import iso_required

router = APIRouter(prefix="/v2/projects", tags=["projects"])


class ProjectCapabilities(BaseModel):
    """What the caller may do in a project."""

    create: bool


class ProjectItem(BaseModel):
    """One project."""

    id: UUID
    name: str
    description: str | None
    is_default: bool
    capabilities: ProjectCapabilities
    created_at: str


class ProjectPage(BaseModel):
    """Projects by name, the default one first."""

    items: list[ProjectItem]
    total: int


class ProjectWanted(BaseModel):
    """A project to make; `My Project` is called `my-project`."""

    name: str = Field(min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=2000)


@router.get("", responses=refusals())
def list_projects(
    request: Request, caller: Reader, search: Search = "", limit: Limit = 500, offset: Offset = 0
) -> ProjectPage:
    """List the team's projects; the first call makes the default one."""
    found, total = projects.list_projects(
        services_of(request).database, caller.team, search=search, limit=limit, offset=offset
    )
    return ProjectPage(items=[_item(caller, project) for project in found], total=total)


@router.post("", status_code=201, responses=refusals(400, 409))
def create_project(request: Request, caller: Recorder, wanted: ProjectWanted) -> ProjectItem:
    """Make a project."""
    database = services_of(request).database

    def make(connection: Connection) -> Project:
        project = projects.create_project(connection, caller.team, wanted.name, wanted.description)
        audit.note(
            connection,
            caller.team,
            caller.name,
            "project.create",
            project.id,
            name=project.name,
        )
        return project

    return _item(caller, settled(database, make))


@router.get("/{project_id}", responses=refusals(404))
def get_project(request: Request, caller: Reader, project_id: Id) -> ProjectItem:
    """Return one project."""
    with services_of(request).database.reading() as connection:
        return _item(caller, projects.find_project(connection, caller.team, project_id))


def _item(caller: Caller, project: Project) -> ProjectItem:
    return ProjectItem(
        id=as_uuid(project.id),
        name=project.name,
        description=project.description,
        is_default=project.is_default,
        capabilities=ProjectCapabilities(create=caller.may("write")),
        created_at=iso_required(project.created_at),
    )
