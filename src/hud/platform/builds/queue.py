"""The queue of builds, in the database: whose turn it is, who builds it, how it ended.

One build of an environment at a time, in the order they were asked for, so that the last one asked
for becomes the latest version. Between teams, the one that is built least has its turn first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, func, select, update

from hud._core import json
from hud._core.errors import bounded
from hud._core.redact import redact
from hud.platform.builds.builder import Built
from hud.platform.builds.identity import is_known_gone
from hud.platform.builds.records import COLUMNS, UNDER_WAY, BuildRecord, BuildStatus
from hud.platform.builds.variables import change_variables
from hud.platform.database import now_us
from hud.platform.registry import tables
from hud.platform.secrets import SecretBox

ATTEMPTS_AT_MOST = 3
SILENT_S = 20.0
"""A server that was not heard of for so long builds nothing any more."""

_LOOKED_AT = 2000
_ERROR_AT_MOST = 2000
_builds, _environments = tables.builds, tables.environments


def is_anybody_waiting(connection: Connection) -> bool:
    """Tell whether there is a build in the queue, whoever's turn it is."""
    waiting = select(_builds.c.id).where(_builds.c.status == BuildStatus.QUEUED).limit(1)
    return connection.execute(waiting).first() is not None


def claim(connection: Connection, worker: str) -> BuildRecord | None:
    """Take the build whose turn it is for `worker`; None when there is none."""
    under_way = connection.execute(
        select(_builds.c.team, _builds.c.environment_id).where(_builds.c.status.in_(UNDER_WAY))
    ).all()
    busy = {(row.team, row.environment_id) for row in under_way}
    running: dict[str, int] = {}
    for row in under_way:
        running[row.team] = running.get(row.team, 0) + 1
    began = {
        row.team: row.last or 0
        for row in connection.execute(
            select(_builds.c.team, func.max(_builds.c.started_at).label("last"))
            .where(_builds.c.started_at.is_not(None))
            .group_by(_builds.c.team)
        )
    }
    waiting = connection.execute(
        select(_builds.c.team, _builds.c.id, _builds.c.environment_id, _builds.c.triggered_at)
        .where(_builds.c.status == BuildStatus.QUEUED)
        .order_by(_builds.c.triggered_at, _builds.c.id)
        .limit(_LOOKED_AT)
    ).all()
    for row in sorted(
        (row for row in waiting if (row.team, row.environment_id) not in busy),
        key=lambda row: (
            running.get(row.team, 0),
            began.get(row.team, 0),
            row.triggered_at,
            row.id,
        ),
    ):
        now = now_us()
        taken = connection.execute(
            update(_builds)
            .where(
                _builds.c.team == row.team,
                _builds.c.id == row.id,
                _builds.c.status == BuildStatus.QUEUED,
            )
            .values(
                status=BuildStatus.IN_PROGRESS.value,
                worker=worker,
                started_at=now,
                heard_at=now,
                attempts=_builds.c.attempts + 1,
            )
        )
        if taken.rowcount == 1:
            return _read(connection, row.team, row.id)
    return None


def heartbeat(
    connection: Connection, worker: str, build_ids: Sequence[str]
) -> dict[str, BuildStatus]:
    """Say that `worker` builds these; return those that it has, by id, and what they are now."""
    mine = and_(
        _builds.c.worker == worker,
        _builds.c.id.in_(build_ids),
        _builds.c.status.in_(UNDER_WAY),
    )
    connection.execute(update(_builds).where(mine).values(heard_at=now_us()))
    rows = connection.execute(select(_builds.c.id, _builds.c.status).where(mine))
    return {row.id: BuildStatus(row.status) for row in rows}


def abandoned(connection: Connection) -> list[BuildRecord]:
    """Return the builds under way whose server is gone."""
    rows = connection.execute(
        select(*COLUMNS, _builds.c.heard_at).where(_builds.c.status.in_(UNDER_WAY))
    ).all()
    silent = now_us() - int(SILENT_S * 1e6)
    return [
        BuildRecord.of(row)
        for row in rows
        if is_known_gone(row.worker or "") or (row.heard_at or 0) <= silent
    ]


def recover(connection: Connection) -> list[tuple[BuildRecord, str]]:
    """Put builds whose server is gone back into the queue, or end them.

    Returns each of them as it is now, and what its log is to say.
    """
    found: list[tuple[BuildRecord, str]] = []
    for record in abandoned(connection):
        if record.status is BuildStatus.CANCELLING:
            said, values = "stopped", _ended(BuildStatus.STOPPED, "it was cancelled")
        elif record.attempts >= ATTEMPTS_AT_MOST:
            said = f"the server ended {record.attempts} times while this was built; giving up"
            values = _ended(BuildStatus.FAILED, said)
        else:
            said = "the server ended while this was built; it is built again"
            values = {"status": BuildStatus.QUEUED.value, "worker": None, "started_at": None}
        changed = connection.execute(
            update(_builds)
            .where(*_is_mine(record), _builds.c.status == record.status)
            .values(**values)
        )
        if changed.rowcount == 1:
            found.append((_read(connection, record.team, record.id), said))
    return found


def put_back(connection: Connection, record: BuildRecord) -> None:
    """Let another server build what this one began: it is told to stop."""
    connection.execute(
        update(_builds)
        .where(*_is_mine(record), _builds.c.status == BuildStatus.IN_PROGRESS)
        .values(
            status=BuildStatus.QUEUED.value,
            worker=None,
            started_at=None,
            attempts=_builds.c.attempts - 1,
        )
    )


def cancel(connection: Connection, record: BuildRecord) -> BuildRecord:
    """Stop a build that waits, ask for the end of one under way, leave one that is over."""
    mine = and_(_builds.c.team == record.team, _builds.c.id == record.id)
    connection.execute(
        update(_builds)
        .where(mine, _builds.c.status.in_((BuildStatus.QUEUED, BuildStatus.UPLOADING)))
        .values(**_ended(BuildStatus.STOPPED, "it was cancelled"))
    )
    connection.execute(
        update(_builds)
        .where(mine, _builds.c.status == BuildStatus.IN_PROGRESS)
        .values(status=BuildStatus.CANCELLING.value)
    )
    return _read(connection, record.team, record.id)


def succeed(
    connection: Connection,
    box: SecretBox,
    record: BuildRecord,
    built: Built,
    variables: Mapping[str, str],
) -> BuildRecord | None:
    """Make what was built the latest version of its environment; None when it is not ours now."""
    assert record.environment_id is not None
    last = connection.execute(
        select(func.max(_builds.c.version)).where(
            _builds.c.team == record.team, _builds.c.environment_id == record.environment_id
        )
    ).scalar()
    now, version = now_us(), int(last or 0) + 1
    done = connection.execute(
        update(_builds)
        .where(*_is_mine(record), _builds.c.status == BuildStatus.IN_PROGRESS)
        .values(
            status=BuildStatus.SUCCEEDED.value,
            version=version,
            manifest=_text(built.manifest),
            lock=_text(built.lock),
            uri=built.uri,
            image=built.image,
            ended_at=now,
            sealed=None,
        )
    )
    if done.rowcount != 1:
        return None
    connection.execute(
        update(_environments)
        .where(_environments.c.team == record.team, _environments.c.id == record.environment_id)
        .values(latest_version=version, updated_at=now)
    )
    if variables:
        change_variables(connection, box, record.team, record.environment_id, given=variables)
    return _read(connection, record.team, record.id)


def end(
    connection: Connection, record: BuildRecord, status: BuildStatus, error: str
) -> BuildRecord | None:
    """Let a build end without success; None when it is not this server's any more."""
    done = connection.execute(
        update(_builds)
        .where(*_is_mine(record), _builds.c.status.in_(UNDER_WAY))
        .values(**_ended(status, error))
    )
    return _read(connection, record.team, record.id) if done.rowcount == 1 else None


def _is_mine(record: BuildRecord) -> tuple[Any, ...]:
    return (
        _builds.c.team == record.team,
        _builds.c.id == record.id,
        _builds.c.worker == record.worker,
    )


def _ended(status: BuildStatus, error: str) -> dict[str, Any]:
    return {
        "status": status.value,
        "error": redact(bounded(error, _ERROR_AT_MOST)),
        "ended_at": now_us(),
        "sealed": None,
        "upload_sha256": None,
    }


def _text(value: Mapping[str, Any]) -> str:
    return json.encode(dict(value)).decode()


def _read(connection: Connection, team: str, build_id: str) -> BuildRecord:
    row = connection.execute(
        select(*COLUMNS).where(_builds.c.team == team, _builds.c.id == build_id)
    ).one()
    return BuildRecord.of(row)
