"""Who a request comes from and what they may do, from its key or its session.

Answers are remembered for a moment, so that a stream of small requests costs the database nothing;
a key that is revoked here ends at once, one revoked at another server within that moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Connection, select
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from hud.platform.accounts import keys, tables
from hud.platform.accounts.keys import SCOPES, Scope
from hud.platform.accounts.sessions import COOKIE
from hud.platform.accounts.teams import Role
from hud.platform.database import Database, now_us
from hud.platform.errors import ApiError
from hud.platform.rollouts import grants
from hud.platform.secrets import SecretBox

REMEMBERED_S = 2.0
_USE_NOTED_S = 60.0
_MOST_REMEMBERED = 10_000
_LONGEST_SECRET = 512

_OF_ROLE: Mapping[Role, tuple[Scope, ...]] = {
    "owner": SCOPES,
    "admin": SCOPES,
    "member": ("read", "write", "inference"),
    "viewer": ("read",),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling.

    Attributes:
        team: Whose things they see; nothing of another team exists for them.
        key_id: The key it came with, None for a browser's session.
        name: How the audit log calls them.
    """

    team: str
    team_uuid: str
    user_id: str
    key_id: str | None
    name: str
    role: Role
    scopes: tuple[Scope, ...]

    def may(self, scope: Scope) -> bool:
        """Tell whether this is allowed to them."""
        return scope in self.scopes


class Keyring:
    """Finds the caller behind a secret. Every method may be called from any thread."""

    def __init__(self, database: Database, secrets: SecretBox | None = None) -> None:
        self._database = database
        self._secrets = secrets
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[float, Caller]] = {}
        self._used: dict[str, float] = {}

    def remembered(self, kind: str, secret: str) -> Caller | None:
        """Return the caller if they were looked up a moment ago; never waits for anything."""
        found = self._known.get((kind, keys.hashed(secret)))
        return found[1] if found is not None and found[0] > time.monotonic() else None

    def by_key(self, secret: str) -> Caller:
        """Return whose key this is; blocks on the database.

        Raises:
            ApiError: with status 401, when it is nobody's, expired or revoked.
        """
        if (known := self.remembered("key", secret)) is not None:
            return known
        if secret.startswith(grants.PREFIX):
            return self._remember("key", secret, self._by_grant(secret))
        if len(secret) > _LONGEST_SECRET:
            raise _unknown_key()
        with self._database.reading() as connection:
            key = keys.find_by_secret(connection, secret)
            if key is None:
                raise _unknown_key()
            if key.revoked_at is not None:
                raise _refused("this key was revoked")
            if key.expires_at is not None and key.expires_at <= now_us():
                raise _refused("this key has expired")
            found = self._member(connection, key.team, key.user_id)
        if found is None:
            raise _refused("the person this key belongs to is not in the team any more")
        name, role, team_uuid = found
        allowed: list[Scope] = [scope for scope in _OF_ROLE[role] if scope in key.scopes]
        caller = Caller(key.team, team_uuid, key.user_id, key.id, name, role, tuple(allowed))
        self._note_use(key.id)
        return self._remember("key", secret, caller)

    def _by_grant(self, secret: str) -> Caller:
        """Return in whose name a run asks models: as long as they could do so themselves."""
        is_short = len(secret) <= grants.LONGEST
        grant = grants.unseal(self._secrets, secret) if self._secrets and is_short else None
        if grant is None:
            raise _unknown_key()
        with self._database.reading() as connection:
            key = None if grant.key_id is None else keys.find_by_id(connection, grant.key_id)
            found = self._member(connection, grant.team, grant.user_id)
        if grant.key_id is not None and (key is None or key.revoked_at is not None):
            raise _refused("the key this run was asked for with was revoked")
        if found is None:
            raise _refused("the person this run was asked for by is not in the team any more")
        name, role, team_uuid = found
        may = "inference" in _OF_ROLE[role] and (key is None or "inference" in key.scopes)
        allowed: tuple[Scope, ...] = ("inference",) if may else ()
        return Caller(grant.team, team_uuid, grant.user_id, grant.key_id, name, role, allowed)

    def by_session(self, token: str) -> Caller:
        """Return whose session this is; blocks on the database.

        Raises:
            ApiError: with status 401, when it is nobody's or over.
        """
        if (known := self.remembered("session", token)) is not None:
            return known
        sessions = tables.sessions
        with self._database.reading() as connection:
            row = connection.execute(
                select(sessions.c.team, sessions.c.user_id).where(
                    sessions.c.sha256 == keys.hashed(token), sessions.c.expires_at > now_us()
                )
            ).one_or_none()
            found = None if row is None else self._member(connection, row.team, row.user_id)
        if row is None or found is None:
            raise ApiError(
                401,
                "this browser is not signed in any more",
                kind="unauthenticated",
                hint="open the link that `hud platform sign-in` prints",
            )
        name, role, team_uuid = found
        caller = Caller(row.team, team_uuid, row.user_id, None, name, role, _OF_ROLE[role])
        return self._remember("session", token, caller)

    def forget(self) -> None:
        """Look everybody up anew: something about keys, sessions or members changed."""
        with self._lock:
            self._known.clear()

    @staticmethod
    def _member(connection: Connection, team: str, user_id: str) -> tuple[str, Role, str] | None:
        users, members, teams = tables.users, tables.members, tables.teams
        row = connection.execute(
            select(users.c.name, members.c.role, teams.c.uuid)
            .join(members, members.c.user_id == users.c.id)
            .join(teams, teams.c.id == members.c.team)
            .where(members.c.team == team, members.c.user_id == user_id)
        ).one_or_none()
        return None if row is None else (row.name, row.role, row.uuid)

    def _remember(self, kind: str, secret: str, caller: Caller) -> Caller:
        with self._lock:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[kind, keys.hashed(secret)] = (time.monotonic() + REMEMBERED_S, caller)
        return caller

    def _note_use(self, key_id: str) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._used.get(key_id, -_USE_NOTED_S) < _USE_NOTED_S:
                return
            self._used[key_id] = now
        with self._database.writing() as connection:
            keys.note_use(connection, key_id, now_us())


def credentials_of(headers: Mapping[str, str], query_key: str | None = None) -> str | None:
    """Return the key that a request carries, in any of the headers that SDKs put it into."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key") or headers.get("x-goog-api-key") or query_key


def caller_of(request: HTTPConnection, *, query_key: str | None = None) -> Caller:
    """Return who a request comes from; blocks on the database.

    Raises:
        ApiError: with status 401, when that cannot be told.
    """
    keyring: Keyring = request.app.state.services.keyring
    secret = credentials_of(request.headers, query_key)
    if secret is not None:
        _refuse_grant(secret)
        return keyring.by_key(secret)
    token = request.cookies.get(COOKIE)
    if token:
        return keyring.by_session(token)
    raise ApiError(
        401,
        "this request carries no key",
        kind="unauthenticated",
        hint="send Authorization: Bearer …; `hud keys create NAME` makes a key",
    )


async def caller_of_async(request: HTTPConnection, scope: Scope) -> Caller:
    """Do as `caller_of` and `check` from an event loop; a remembered key costs no thread.

    Raises:
        ApiError: with status 401 or 403.
    """
    keyring: Keyring = request.app.state.services.keyring
    secret = credentials_of(request.headers)
    if secret is not None:
        _refuse_grant(secret)
    caller = None if secret is None else keyring.remembered("key", secret)
    if caller is None:
        caller = await run_in_threadpool(caller_of, request)
    check(caller, scope)
    return caller


def require(scope: Scope) -> Callable[[Request], Caller]:
    """Return the dependency that lets a request in when its caller has `scope`."""

    def allowed(request: Request) -> Caller:
        caller = caller_of(request)
        check(caller, scope)
        return caller

    return allowed


def check(caller: Caller, scope: Scope) -> None:
    """Refuse a caller without `scope`.

    Raises:
        ApiError: with status 403.
    """
    if not caller.may(scope):
        raise ApiError(
            403,
            f"this needs the scope {scope!r}",
            kind="forbidden",
            hint=f"where the platform runs: hud keys create NAME --scope {scope}",
        )


def _refuse_grant(secret: str) -> None:
    """Refuse the key of a run, which is good for asking models only."""
    if secret.startswith(grants.PREFIX):
        raise _unknown_key()


def _unknown_key() -> ApiError:
    return _refused("this key is not known here")


def _refused(message: str) -> ApiError:
    return ApiError(
        401, message, kind="unauthenticated", hint="`hud keys create NAME` makes another"
    )


Reader = Annotated[Caller, Depends(require("read"))]
"""A caller who may look."""
Recorder = Annotated[Caller, Depends(require("write"))]
"""A caller who may record and change."""
Admin = Annotated[Caller, Depends(require("admin"))]
"""A caller who may manage people, keys and providers."""
