"""Teams and the people in them. An embedded platform has one of each, made at the first start."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from hud._core.errors import InputError, bounded
from hud._core.ids import new_id
from hud.platform.accounts import tables
from hud.platform.database import Database, now_us
from hud.store import LOCAL_TEAM

Role = Literal["owner", "admin", "member", "viewer"]
FIRST_USER = "owner"
_TEAM = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a team."""

    user_id: str
    name: str
    email: str | None
    role: Role
    created_at: int


def ensure_first_owner(database: Database) -> str:
    """Make sure that the local team and its owner exist; return the owner's id."""
    try:
        with database.writing() as connection:
            return _first_owner(connection)
    except IntegrityError:  # another server made them meanwhile
        with database.writing() as connection:
            return _first_owner(connection)


def _first_owner(connection: Connection) -> str:
    make_team(connection, LOCAL_TEAM)
    users, members = tables.users, tables.members
    found = connection.execute(select(users.c.id).where(users.c.name == FIRST_USER)).scalar()
    user_id = found or add_user(connection, FIRST_USER)
    known = connection.execute(
        select(members.c.role).where(members.c.team == LOCAL_TEAM, members.c.user_id == user_id)
    ).scalar()
    if known is None:
        set_role(connection, LOCAL_TEAM, user_id, "owner")
    return user_id


def make_team(connection: Connection, team: str) -> bool:
    """Make the team unless there is one of that name; return whether it was made.

    Raises:
        InputError: for a name that no team can have.
    """
    if not _TEAM.fullmatch(team):
        raise InputError(
            f"{bounded(team)!r} cannot be the name of a team",
            hint="lower-case letters, digits and dashes, at most 64",
        )
    teams = tables.teams
    if connection.execute(select(teams.c.id).where(teams.c.id == team)).scalar() is not None:
        return False
    connection.execute(insert(teams).values(id=team, uuid=new_id(), name=team, created_at=now_us()))
    return True


def list_teams(connection: Connection) -> list[str]:
    """Return the names of all teams."""
    return list(connection.execute(select(tables.teams.c.id).order_by(tables.teams.c.id)).scalars())


def require_team(connection: Connection, team: str) -> str:
    """Return the id of the team's UUID form.

    Raises:
        InputError: when there is no such team.
    """
    found = connection.execute(
        select(tables.teams.c.uuid).where(tables.teams.c.id == team)
    ).scalar()
    if found is None:
        known = ", ".join(list_teams(connection))
        raise InputError(f"there is no team {bounded(team)!r}", hint=f"known: {known}")
    return str(found)


def add_user(connection: Connection, name: str, email: str | None = None) -> str:
    """Add a person and return their id.

    Raises:
        InputError: when the name is taken or empty.
    """
    users = tables.users
    name = name.strip()
    if not name or len(name) > 200:
        raise InputError(f"{bounded(name)!r} cannot be the name of a person")
    if connection.execute(select(users.c.id).where(users.c.name == name)).scalar() is not None:
        raise InputError(f"there is a person named {bounded(name)!r} already")
    user_id = new_id()
    connection.execute(
        insert(users).values(id=user_id, name=name, email=email, created_at=now_us())
    )
    return user_id


def set_role(connection: Connection, team: str, user_id: str, role: Role) -> None:
    """Put a person into a team, or change what they may do there."""
    members = tables.members
    connection.execute(members.delete().where(members.c.team == team, members.c.user_id == user_id))
    connection.execute(
        insert(members).values(team=team, user_id=user_id, role=role, created_at=now_us())
    )


def remove_member(connection: Connection, team: str, user_id: str) -> None:
    """Take a person out of a team: their keys and sessions there end with it."""
    members, keys, sessions = tables.members, tables.api_keys, tables.sessions
    connection.execute(members.delete().where(members.c.team == team, members.c.user_id == user_id))
    connection.execute(
        keys.update()
        .where(keys.c.team == team, keys.c.user_id == user_id, keys.c.revoked_at.is_(None))
        .values(revoked_at=now_us())
    )
    connection.execute(
        sessions.delete().where(sessions.c.team == team, sessions.c.user_id == user_id)
    )


def list_members(connection: Connection, team: str) -> list[Member]:
    """Return who is in a team, by name."""
    users, members = tables.users, tables.members
    rows = connection.execute(
        select(users.c.id, users.c.name, users.c.email, members.c.role, members.c.created_at)
        .join(members, members.c.user_id == users.c.id)
        .where(members.c.team == team)
        .order_by(users.c.name)
    )
    return [Member(*row) for row in rows]
