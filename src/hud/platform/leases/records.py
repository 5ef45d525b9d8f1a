"""What the database keeps of leases, so that any server can show them and sweep up after another.

The places themselves are held by the server that lent them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, or_, select, update

from hud.platform.database import now_us
from hud.platform.leases.lease import Lease
from hud.store.schema import metadata

_table = metadata.tables["leases"]
SILENCE_US = 35 * 1_000_000
"""How long a server may say nothing before what it lent counts as gone."""
_KEPT_US = 7 * 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """One lease as it was when it was last heard of."""

    id: str
    environment: str
    build_id: str
    run_id: str | None
    server: str
    state: str
    reason: str | None
    created_at: int
    ended_at: int | None


_COLUMNS = [_table.c[name] for name in LeaseRecord.__slots__]


def add(connection: Connection, lease: Lease, server: str) -> None:
    """Keep that a lease begins."""
    now, who = now_us(), lease.borrower
    connection.execute(
        insert(_table).values(
            team=who.team,
            id=lease.id,
            environment=lease.built.environment,
            build_id=lease.built.build_id,
            run_id=who.run_id,
            user_id=who.user_id,
            key_id=who.key_id,
            server=server,
            state="starting",
            created_at=now,
            heard_at=now,
        )
    )


@dataclass(frozen=True, slots=True)
class Heard:
    """How a lease stood when this was made: it goes on while that is written."""

    team: str
    id: str
    state: str
    reason: str | None

    @classmethod
    def of(cls, lease: Lease) -> Heard:
        """Return how a lease stands now."""
        return cls(lease.borrower.team, lease.id, lease.state, lease.reason)


def hear(connection: Connection, news: Sequence[Heard]) -> None:
    """Keep how leases of this server stood."""
    now = now_us()
    for heard in news:
        ended_at = now if heard.state == "ended" else None
        connection.execute(
            update(_table)
            # What is over stays over, whoever else is just writing how it stood before.
            .where(_table.c.team == heard.team, _table.c.id == heard.id, _table.c.state != "ended")
            .values(state=heard.state, reason=heard.reason, heard_at=now, ended_at=ended_at)
        )


def sweep(connection: Connection) -> int:
    """End what was lent by servers that fell silent, and forget what ended long ago."""
    now = now_us()
    connection.execute(_table.delete().where(_table.c.ended_at < now - _KEPT_US))
    gone = connection.execute(
        update(_table)
        .where(_table.c.state != "ended", _table.c.heard_at < now - SILENCE_US)
        .values(state="ended", reason="the server that held it is gone", ended_at=now)
    )
    return gone.rowcount


def count_open(connection: Connection, team: str) -> int:
    """Return how many leases a team has that did not end."""
    wanted = (_table.c.team == team) & (_table.c.state != "ended")
    found = connection.execute(select(func.count()).select_from(_table).where(wanted))
    return int(found.scalar() or 0)


def find(connection: Connection, team: str, lease_id: str) -> LeaseRecord | None:
    """Return a lease of the team, None when it has no such lease."""
    row = connection.execute(
        select(*_COLUMNS).where(_table.c.team == team, _table.c.id == lease_id)
    ).one_or_none()
    return None if row is None else LeaseRecord(*row)


def newest(connection: Connection, team: str, limit: int, *, is_open: bool) -> list[LeaseRecord]:
    """Return the team's newest leases."""
    wanted = _table.c.team == team
    if is_open:
        wanted &= or_(_table.c.state == "starting", _table.c.state == "ready")
    rows = connection.execute(
        select(*_COLUMNS).where(wanted).order_by(_table.c.created_at.desc()).limit(limit)
    )
    return [LeaseRecord(*row) for row in rows]
