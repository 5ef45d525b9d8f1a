"""Who the caller is, their team and its members, and what was changed by whom."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import Connection, select

from hud.platform.accounts import audit, tables, teams
from hud.platform.accounts.keys import Scope
from hud.platform.accounts.teams import Role
from hud.platform.cursors import decode_cursor, encode_cursor
from hud.platform.errors import ApiError, not_found
from hud.platform.identity import Admin, Caller, Reader
from hud.platform.services import services_of
from hud.platform.times import iso_required

router = APIRouter(prefix="/v2", tags=["accounts"])

MemberId = Annotated[str, Path(max_length=64)]


class Me(BaseModel):
    """Whose key or session this is. The two ids are stable."""

    user_id: UUID
    team_id: UUID
    name: str
    team: str
    role: Role
    scopes: list[Scope]


class MemberItem(BaseModel):
    """Somebody in the team."""

    user_id: str
    name: str
    email: str | None
    role: Role
    created_at: str


class MemberPage(BaseModel):
    """The team's members, by name."""

    items: list[MemberItem]
    total: int


class MemberWanted(BaseModel):
    """Somebody to add to the team."""

    name: str = Field(min_length=1, max_length=200)
    email: str | None = Field(default=None, max_length=320)
    role: Role = "member"


class RoleWanted(BaseModel):
    """What a member may do from now on."""

    role: Role


class AuditItem(BaseModel):
    """One change somebody made."""

    id: str
    at: str
    actor: str
    action: str
    subject: str | None
    detail: dict[str, object] | None


class AuditPage(BaseModel):
    """Entries, newest first; `next_cursor` asks for the page after."""

    items: list[AuditItem]
    next_cursor: str | None


@router.get("/auth/me")
def me(caller: Reader) -> Me:
    """Say whose key this is."""
    return Me(
        user_id=UUID(caller.user_id),
        team_id=UUID(caller.team_uuid),
        name=caller.name,
        team=caller.team,
        role=caller.role,
        scopes=list(caller.scopes),
    )


@router.get("/members")
def list_members(request: Request, caller: Reader) -> MemberPage:
    """List the team's members."""
    with services_of(request).database.reading() as connection:
        found = teams.list_members(connection, caller.team)
    items = [
        MemberItem(
            user_id=member.user_id,
            name=member.name,
            email=member.email,
            role=member.role,
            created_at=iso_required(member.created_at),
        )
        for member in found
    ]
    return MemberPage(items=items, total=len(items))


@router.post("/members", status_code=201)
def add_member(request: Request, caller: Admin, wanted: MemberWanted) -> MemberItem:
    """Add somebody to the team."""
    _may_give(caller, wanted.role)
    with services_of(request).database.writing() as connection:
        user_id = teams.add_user(connection, wanted.name, wanted.email)
        teams.set_role(connection, caller.team, user_id, wanted.role)
        audit.note(connection, caller.team, caller.name, "member.add", user_id, role=wanted.role)
        [member] = [
            member
            for member in teams.list_members(connection, caller.team)
            if member.user_id == user_id
        ]
    return MemberItem(
        user_id=member.user_id,
        name=member.name,
        email=member.email,
        role=member.role,
        created_at=iso_required(member.created_at),
    )


@router.put("/members/{user_id}")
def set_role(request: Request, caller: Admin, user_id: MemberId, wanted: RoleWanted) -> RoleWanted:
    """Change what a member may do."""
    services = services_of(request)
    _may_give(caller, wanted.role)
    with services.database.writing() as connection:
        roles = _roles(connection, caller, user_id)
        _keep_an_owner(roles, user_id, wanted.role)
        _may_give(caller, roles[user_id])
        teams.set_role(connection, caller.team, user_id, wanted.role)
        audit.note(connection, caller.team, caller.name, "member.role", user_id, role=wanted.role)
    services.keyring.forget()
    return wanted


@router.delete("/members/{user_id}")
def remove_member(request: Request, caller: Admin, user_id: MemberId) -> dict[str, str]:
    """Take somebody out of the team; their keys and sessions end."""
    services = services_of(request)
    with services.database.writing() as connection:
        roles = _roles(connection, caller, user_id)
        _keep_an_owner(roles, user_id, None)
        _may_give(caller, roles[user_id])
        teams.remove_member(connection, caller.team, user_id)
        audit.note(connection, caller.team, caller.name, "member.remove", user_id)
    services.keyring.forget()
    return {"user_id": user_id}


@router.get("/audit")
def read_audit(
    request: Request,
    caller: Admin,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> AuditPage:
    """Read the audit log, newest first."""
    before = None if cursor is None else decode_cursor(cursor, int, str)
    with services_of(request).database.reading() as connection:
        entries = audit.read(
            connection, caller.team, limit=limit, before=before and (before[0], before[1])
        )
    items = [
        AuditItem(
            id=entry.id,
            at=iso_required(entry.at),
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            detail=entry.detail,
        )
        for entry in entries
    ]
    last = entries[-1] if len(entries) == limit else None
    return AuditPage(
        items=items, next_cursor=None if last is None else encode_cursor(last.at, last.id)
    )


def _roles(connection: Connection, caller: Caller, user_id: str) -> dict[str, Role]:
    members = tables.members
    rows = connection.execute(
        select(members.c.user_id, members.c.role).where(members.c.team == caller.team)
    )
    roles: dict[str, Role] = {row.user_id: row.role for row in rows}
    if user_id not in roles:
        not_found("member", user_id)
    return roles


def _keep_an_owner(roles: dict[str, Role], user_id: str, role: Role | None) -> None:
    owners = [member for member, held in roles.items() if held == "owner"]
    if owners == [user_id] and role != "owner":
        raise ApiError(409, "a team needs an owner, and this is its only one")


def _may_give(caller: Caller, role: Role) -> None:
    if role == "owner" and caller.role != "owner":
        raise ApiError(403, "only an owner may make, change or remove an owner")
