"""An environment's versions over the API: its builds, going back to one, what it is run with."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from hud.platform.accounts import audit
from hud.platform.builds.records import list_builds
from hud.platform.builds.rollback import roll_back
from hud.platform.builds.variables import change_variables, checked, variables_of
from hud.platform.identity import Reader, Recorder
from hud.platform.registry.environments import find_environment
from hud.platform.registry.naming import as_uuid
from hud.platform.routes.asked import Id, Limit, Offset, refusals
from hud.platform.routes.builds import BuildRow
from hud.platform.services import services_of

router = APIRouter(prefix="/v2/registry/{environment_id}", tags=["environments"])

_Name = Annotated[str, Field(max_length=200)]


class BuildPage(BaseModel):
    """Builds of an environment, the newest first."""

    items: list[BuildRow]
    total: int


class RollbackWanted(BaseModel):
    """Which version is to be run."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)]


class RolledBack(BaseModel):
    """Which version is run now, and which was before."""

    id: UUID
    name: str
    version: int
    before: int | None


class VariablesWanted(BaseModel):
    """Variables to set, and to take away; all others stay."""

    set: Annotated[dict[str, str], Field(max_length=500)] = Field(default_factory=dict[str, str])
    remove: Annotated[list[_Name], Field(max_length=500)] = Field(default_factory=list[str])


class VariableNames(BaseModel):
    """What an environment is run with; the values are never told."""

    names: list[str]


@router.get("/builds", responses=refusals(404))
def environment_builds(
    request: Request, caller: Reader, environment_id: Id, limit: Limit = 100, offset: Offset = 0
) -> BuildPage:
    """List an environment's builds, also those that failed or are under way."""
    with services_of(request).database.reading() as connection:
        found = find_environment(connection, caller.team, environment_id)
        builds, total = list_builds(connection, caller.team, found.id, limit=limit, offset=offset)
    return BuildPage(items=[BuildRow.of(each) for each in builds], total=total)


@router.post("/rollback", responses=refusals(404, 409))
def rollback(
    request: Request, caller: Recorder, environment_id: Id, body: RollbackWanted
) -> RolledBack:
    """Make a version that was built before the one that is run; variables stay as they are."""
    services = services_of(request)
    bundles = services.config.home / "bundles"
    with services.database.writing() as connection:
        found = find_environment(connection, caller.team, environment_id)
        before = roll_back(connection, caller.team, found.id, body.version, bundles)
        audit.note(
            connection,
            caller.team,
            caller.name,
            "environment.rollback",
            found.name,
            version=body.version,
            before=before,
        )
    return RolledBack(id=as_uuid(found.id), name=found.name, version=body.version, before=before)


@router.get("/variables", responses=refusals(404))
def variable_names(request: Request, caller: Reader, environment_id: Id) -> VariableNames:
    """Return the names of an environment's variables."""
    services = services_of(request)
    with services.database.reading() as connection:
        found = find_environment(connection, caller.team, environment_id)
        held = variables_of(connection, services.secrets, caller.team, found.id)
    return VariableNames(names=sorted(held))


@router.patch("/variables", responses=refusals(400, 404))
def set_variables(
    request: Request, caller: Recorder, environment_id: Id, body: VariablesWanted
) -> VariableNames:
    """Change what an environment is run with, from the next rollout on."""
    services = services_of(request)
    given = checked("set", body.set)
    with services.database.writing() as connection:
        found = find_environment(connection, caller.team, environment_id)
        names = change_variables(
            connection,
            services.secrets,
            caller.team,
            found.id,
            given=given,
            removed=tuple(body.remove),
        )
        audit.note(
            connection,
            caller.team,
            caller.name,
            "environment.variables",
            found.name,
            set=sorted(given),
            removed=sorted(body.remove),
        )
    return VariableNames(names=names)
