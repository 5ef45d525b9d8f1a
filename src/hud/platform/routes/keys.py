"""API keys over the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from hud.platform.accounts import audit, keys
from hud.platform.accounts.keys import ApiKey, Scope
from hud.platform.errors import ApiError, not_found
from hud.platform.identity import Reader, Recorder
from hud.platform.services import services_of
from hud.platform.times import iso, iso_required, micros_in

router = APIRouter(prefix="/v2/keys", tags=["keys"])


class KeyItem(BaseModel):
    """A key without its secret. `shown` is how it begins and ends."""

    id: str
    name: str
    shown: str
    scopes: list[Scope]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    used_at: str | None


class KeyPage(BaseModel):
    """All keys of the team, newest first."""

    items: list[KeyItem]
    total: int


class KeyWanted(BaseModel):
    """A key to make: it may do no more than whoever makes it."""

    name: str = Field(min_length=1, max_length=200)
    scopes: list[Scope] | None = None
    expires_in_s: int | None = Field(default=None, gt=0, le=10 * 365 * 24 * 3600)


class KeyMade(BaseModel):
    """A new key; `api_key` is told now and never again."""

    api_key: str
    key: KeyItem


@router.get("")
def list_keys(request: Request, caller: Reader) -> KeyPage:
    """List the team's keys."""
    with services_of(request).database.reading() as connection:
        items = [_item(key) for key in keys.list_keys(connection, caller.team)]
    return KeyPage(items=items, total=len(items))


@router.post("", status_code=201)
def create_key(request: Request, caller: Recorder, wanted: KeyWanted) -> KeyMade:
    """Make a key."""
    usual: list[Scope] = [scope for scope in keys.DEFAULT_SCOPES if caller.may(scope)]
    scopes: list[Scope] = usual if wanted.scopes is None else wanted.scopes
    beyond = [scope for scope in scopes if not caller.may(scope)]
    if beyond:
        raise ApiError(403, f"a key with the scope {beyond[0]!r} is beyond this caller's own")
    with services_of(request).database.writing() as connection:
        key, secret = keys.create_key(
            connection,
            team=caller.team,
            user_id=caller.user_id,
            name=wanted.name,
            scopes=scopes,
            expires_at=None if wanted.expires_in_s is None else micros_in(wanted.expires_in_s),
        )
        audit.note(connection, caller.team, caller.name, "key.create", key.id, name=key.name)
    return KeyMade(api_key=secret, key=_item(key))


@router.delete("/{key_id}")
def revoke_key(
    request: Request, caller: Recorder, key_id: Annotated[str, Path(max_length=64)]
) -> KeyItem:
    """Revoke a key: one's own, or as an admin any of the team."""
    services = services_of(request)
    with services.database.writing() as connection:
        found = [key for key in keys.list_keys(connection, caller.team) if key.id == key_id]
        if not found or not (caller.may("admin") or found[0].user_id == caller.user_id):
            not_found("key", key_id)
        keys.revoke_key(connection, caller.team, key_id)
        audit.note(connection, caller.team, caller.name, "key.revoke", key_id)
        [after] = [key for key in keys.list_keys(connection, caller.team) if key.id == key_id]
    services.keyring.forget()
    return _item(after)


def _item(key: ApiKey) -> KeyItem:
    return KeyItem(
        id=key.id,
        name=key.name,
        shown=key.shown,
        scopes=list(key.scopes),
        created_at=iso_required(key.created_at),
        expires_at=iso(key.expires_at),
        revoked_at=iso(key.revoked_at),
        used_at=iso(key.used_at),
    )
