"""Sessions of a browser, and the one-time links from a terminal that begin them."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, insert, select

from hud.platform.accounts import tables
from hud.platform.accounts.keys import hashed
from hud.platform.database import now_us

COOKIE = "hud_session"
LINK_LIFETIME_S = 15 * 60
SESSION_LIFETIME_S = 30 * 24 * 3600


def make_link_code(connection: Connection, *, team: str, user_id: str) -> str:
    """Return a code that signs a browser in once, within 15 minutes."""
    code, now = secrets.token_urlsafe(32), now_us()
    connection.execute(
        insert(tables.sign_ins).values(
            sha256=hashed(code),
            kind="link",
            status="approved",
            team=team,
            user_id=user_id,
            created_at=now,
            expires_at=now + LINK_LIFETIME_S * 1_000_000,
        )
    )
    return code


def redeem_link_code(connection: Connection, code: str) -> str | None:
    """Use a code up and return the token of a new session; None when it is not valid any more."""
    sign_ins, now = tables.sign_ins, now_us()
    row = connection.execute(
        select(sign_ins.c.team, sign_ins.c.user_id).where(
            sign_ins.c.sha256 == hashed(code),
            sign_ins.c.kind == "link",
            sign_ins.c.expires_at > now,
        )
    ).one_or_none()
    used = connection.execute(sign_ins.delete().where(sign_ins.c.sha256 == hashed(code)))
    if row is None or not used.rowcount:
        return None
    return begin_session(connection, team=row.team, user_id=row.user_id)


def begin_session(connection: Connection, *, team: str, user_id: str) -> str:
    """Return the token of a new session."""
    token, now = secrets.token_urlsafe(32), now_us()
    sessions = tables.sessions
    connection.execute(sessions.delete().where(sessions.c.expires_at <= now))
    connection.execute(
        insert(sessions).values(
            sha256=hashed(token),
            team=team,
            user_id=user_id,
            created_at=now,
            expires_at=now + SESSION_LIFETIME_S * 1_000_000,
        )
    )
    return token


def end_session(connection: Connection, token: str) -> None:
    """End the session with this token, if there is one."""
    connection.execute(tables.sessions.delete().where(tables.sessions.c.sha256 == hashed(token)))
