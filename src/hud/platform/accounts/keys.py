"""API keys: made, listed, revoked. Only a hash is kept, so a key is shown once."""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import Connection, insert, select

from hud._core import json
from hud._core.errors import InputError, bounded
from hud._core.ids import new_id
from hud.platform.accounts import tables
from hud.platform.database import now_us

Scope = Literal["read", "write", "inference", "admin"]
"""What a key may do: look, record and change, call models, manage people and providers."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
DEFAULT_SCOPES: tuple[Scope, ...] = ("read", "write", "inference")
_PREFIX = "hud_"
_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 40  # 238 bits: a plain hash of it cannot be searched


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept. `shown` is how it begins and ends, enough to recognise it."""

    id: str
    team: str
    user_id: str
    name: str
    shown: str
    scopes: tuple[Scope, ...]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    used_at: int | None


def hashed(secret: str) -> str:
    """Return what is kept of a key, a session token or a one-time code."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create_key(
    connection: Connection,
    *,
    team: str,
    user_id: str,
    name: str,
    scopes: Sequence[Scope] = DEFAULT_SCOPES,
    expires_at: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and return it with its secret, which nobody can be told again.

    Raises:
        InputError: for an empty name or an unknown scope.
    """
    name = name.strip()
    if not name or len(name) > 200:
        raise InputError(f"{bounded(name)!r} cannot be the name of a key")
    for scope in scopes:
        if scope not in SCOPES:
            raise InputError(
                f"there is no scope {bounded(scope)!r}", hint=f"known: {', '.join(SCOPES)}"
            )
    secret = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    key = ApiKey(
        id=new_id(),
        team=team,
        user_id=user_id,
        name=name,
        shown=f"{secret[:8]}…{secret[-4:]}",
        scopes=tuple(sorted(set(scopes), key=SCOPES.index)),
        created_at=now_us(),
        expires_at=expires_at,
        revoked_at=None,
        used_at=None,
    )
    connection.execute(
        insert(tables.api_keys).values(
            id=key.id,
            team=team,
            user_id=user_id,
            name=name,
            shown=key.shown,
            sha256=hashed(secret),
            scopes=json.encode(key.scopes).decode(),
            created_at=key.created_at,
            expires_at=expires_at,
        )
    )
    return key, secret


def list_keys(connection: Connection, team: str) -> list[ApiKey]:
    """Return the keys of a team, newest first."""
    rows = connection.execute(
        select(*_COLUMNS)
        .where(tables.api_keys.c.team == team)
        .order_by(tables.api_keys.c.created_at.desc(), tables.api_keys.c.id)
    )
    return [_key(row) for row in rows]


def find_by_secret(connection: Connection, secret: str) -> ApiKey | None:
    """Return the key with this secret, whatever became of it; None when there is none."""
    row = connection.execute(
        select(*_COLUMNS).where(tables.api_keys.c.sha256 == hashed(secret))
    ).one_or_none()
    return None if row is None else _key(row)


def find_by_id(connection: Connection, key_id: str) -> ApiKey | None:
    """Return a key of any team, whatever became of it; None when there is none."""
    row = connection.execute(select(*_COLUMNS).where(tables.api_keys.c.id == key_id)).one_or_none()
    return None if row is None else _key(row)


def revoke_key(connection: Connection, team: str, key_id: str) -> ApiKey:
    """End a key; ending it again changes nothing.

    Raises:
        InputError: when the team has no such key.
    """
    keys = tables.api_keys
    row = connection.execute(
        select(*_COLUMNS).where(keys.c.team == team, keys.c.id == key_id)
    ).one_or_none()
    if row is None:
        raise InputError(f"there is no key {bounded(key_id)}", hint="`hud keys list` shows them")
    connection.execute(
        keys.update()
        .where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
        .values(revoked_at=now_us())
    )
    return _key(row)


def note_use(connection: Connection, key_id: str, at: int) -> None:
    """Keep when a key was last used."""
    keys = tables.api_keys
    connection.execute(keys.update().where(keys.c.id == key_id).values(used_at=at))


_COLUMNS = tuple(
    tables.api_keys.c[name]
    for name in (
        *("id", "team", "user_id", "name", "shown", "scopes"),
        *("created_at", "expires_at", "revoked_at", "used_at"),
    )
)


def _key(row: Sequence[object]) -> ApiKey:
    values = list(row)
    values[5] = tuple(json.decode(str(values[5])))
    return ApiKey(*values)  # pyright: ignore[reportArgumentType]  # the columns above, in order
