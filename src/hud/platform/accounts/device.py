"""Signing a device in by a code that a person confirms elsewhere (RFC 8628)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, insert, select

from hud._core.errors import bounded
from hud.platform.accounts import keys, tables
from hud.platform.accounts.keys import Scope, hashed
from hud.platform.database import now_us
from hud.platform.errors import ApiError
from hud.platform.identity import Caller, check

LIFETIME_S = 15 * 60
INTERVAL_S = 5
_MOST_WAITING = 1_000
# No vowels, and nothing that looks like something else.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_SCOPES: tuple[Scope, ...] = keys.DEFAULT_SCOPES

Waiting = Literal["authorization_pending", "slow_down", "expired_token", "access_denied"]


@dataclass(frozen=True, slots=True)
class Begun:
    """The secret code of the device, and the short one for a person."""

    device_code: str
    user_code: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a confirmed device is told, once."""

    api_key: str
    user_name: str
    email: str | None
    team: str


def begin(connection: Connection, client_name: str) -> Begun:
    """Begin; the codes are good for 15 minutes.

    Raises:
        ApiError: with status 429, when too many devices wait already.
    """
    sign_ins, now = tables.sign_ins, now_us()
    connection.execute(sign_ins.delete().where(sign_ins.c.expires_at <= now))
    waiting = connection.execute(
        select(sign_ins.c.sha256).where(sign_ins.c.kind == "device").limit(_MOST_WAITING)
    ).all()
    if len(waiting) >= _MOST_WAITING:
        raise ApiError(429, "too many devices wait to be signed in; try again later")
    short = "".join(secrets.choice(_LETTERS) for _ in range(8))
    begun = Begun(secrets.token_urlsafe(32), f"{short[:4]}-{short[4:]}")
    connection.execute(
        insert(sign_ins).values(
            sha256=hashed(begun.device_code),
            kind="device",
            status="waiting",
            user_code=begun.user_code,
            client_name=client_name,
            created_at=now,
            expires_at=now + LIFETIME_S * 1_000_000,
        )
    )
    return begun


def confirm(connection: Connection, user_code: str, caller: Caller, *, approve: bool) -> str:
    """Answer a device for `caller`; return what the device calls itself.

    Raises:
        ApiError: when no device waits with this code, or the caller's key may do less than the
            device's will.
    """
    if caller.key_id is not None:
        for scope in _SCOPES:  # the device's key may do no more than the one that let it in
            check(caller, scope)
    sign_ins = tables.sign_ins
    letters = "".join(letter for letter in user_code.upper() if letter.isalpha())
    spelled = f"{letters[:4]}-{letters[4:]}"
    row = connection.execute(
        select(sign_ins.c.sha256, sign_ins.c.client_name).where(
            sign_ins.c.kind == "device",
            sign_ins.c.status == "waiting",
            sign_ins.c.user_code == spelled,
            sign_ins.c.expires_at > now_us(),
        )
    ).first()
    if row is None:
        raise ApiError(
            404,
            f"no device waits with the code {bounded(user_code, 20)}",
            kind="not_found",
            hint="`hud login` on the device shows a new one",
        )
    connection.execute(
        sign_ins.update()
        .where(sign_ins.c.sha256 == row.sha256)
        .values(
            status="approved" if approve else "denied", team=caller.team, user_id=caller.user_id
        )
    )
    return row.client_name or "a device"


def poll(connection: Connection, device_code: str) -> SignedIn | Waiting:
    """Return the new key once a person confirmed, else why there is none."""
    sign_ins, now = tables.sign_ins, now_us()
    row = connection.execute(
        select(sign_ins).where(
            sign_ins.c.sha256 == hashed(device_code), sign_ins.c.kind == "device"
        )
    ).one_or_none()
    if row is None or row.expires_at <= now:
        return "expired_token"
    this = sign_ins.c.sha256 == row.sha256
    if row.status == "waiting":
        early = row.polled_at is not None and now - row.polled_at < (INTERVAL_S - 1) * 1_000_000
        connection.execute(sign_ins.update().where(this).values(polled_at=now))
        return "slow_down" if early else "authorization_pending"
    if not connection.execute(sign_ins.delete().where(this)).rowcount:
        return "expired_token"  # another poll was told meanwhile
    if row.status == "denied":
        return "access_denied"
    users = tables.users
    user = connection.execute(
        select(users.c.name, users.c.email).where(users.c.id == row.user_id)
    ).one()
    _, secret = keys.create_key(
        connection,
        team=row.team,
        user_id=row.user_id,
        name=f"login from {row.client_name or 'a device'}"[:200],
        scopes=_SCOPES,
    )
    return SignedIn(secret, user.name, user.email, row.team)
