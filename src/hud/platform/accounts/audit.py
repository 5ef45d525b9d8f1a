"""The audit log: who changed what about access, money and the record. Nothing edits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select

from hud._core import json
from hud._core.ids import new_id
from hud._core.redact import redact
from hud.platform.accounts import tables
from hud.platform.database import now_us


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change. `actor` is a person's name, or what stood for them."""

    id: str
    at: int
    actor: str
    action: str
    subject: str | None
    detail: dict[str, Any] | None


def note(
    connection: Connection,
    team: str,
    actor: str,
    action: str,
    subject: str | None = None,
    **detail: Any,
) -> None:
    """Write an entry, in the transaction of the change it is about."""
    connection.execute(
        insert(tables.audit).values(
            team=team,
            id=new_id(),
            at=now_us(),
            actor=actor,
            action=action,
            subject=subject,
            detail=redact(json.encode(detail).decode()) if detail else None,
        )
    )


def read(
    connection: Connection, team: str, *, limit: int, before: tuple[int, str] | None = None
) -> list[AuditEntry]:
    """Return up to `limit` entries, newest first; those older than `before` (its time and id)."""
    audit = tables.audit
    query = select(
        audit.c.id, audit.c.at, audit.c.actor, audit.c.action, audit.c.subject, audit.c.detail
    ).where(audit.c.team == team)
    if before is not None:
        at, entry_id = before
        query = query.where(or_(audit.c.at < at, and_(audit.c.at == at, audit.c.id < entry_id)))
    rows = connection.execute(query.order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit))
    return [
        AuditEntry(entry_id, at, actor, action, subject, json.decode(detail) if detail else None)
        for entry_id, at, actor, action, subject, detail in rows
    ]
