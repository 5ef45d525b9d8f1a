"""Builds as they are kept: which states they go through, and finding those of a team."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import Connection, Row, func, select

from hud._core import json
from hud.platform.errors import not_found
from hud.platform.registry import tables
from hud.platform.registry.naming import stored_id

_table = tables.builds


class BuildStatus(StrEnum):
    """Where a build is. Existing clients know the last six."""

    UPLOADING = "UPLOADING"
    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def is_over(self) -> bool:
        """Whether it stays what it is."""
        return self in ENDED

    @property
    def told(self) -> BuildStatus:
        """What clients are told: for those that ask until it is over, waiting is progress."""
        return BuildStatus.IN_PROGRESS if self is BuildStatus.QUEUED else self


ENDED = frozenset(
    (BuildStatus.SUCCEEDED, BuildStatus.FAILED, BuildStatus.STOPPED, BuildStatus.TIMED_OUT)
)
UNDER_WAY = (BuildStatus.IN_PROGRESS, BuildStatus.CANCELLING)
_NAMES = (
    *("team", "id", "environment_id", "version", "status", "spec", "manifest", "lock"),
    *("image", "uri", "error", "actor", "size_bytes", "worker", "attempts"),
    *("created_at", "triggered_at", "started_at", "ended_at"),
)
COLUMNS = tuple(_table.c[name] for name in _NAMES)


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """One build. Times are microseconds.

    Attributes:
        environment_id: None until it was triggered.
        version: The version of its environment that it made; None until it succeeded.
        spec: What was asked for, without anything secret.
        error: Why it did not succeed, one sentence.
        worker: The server that builds it, or did.
    """

    team: str
    id: str
    environment_id: str | None
    version: int | None
    status: BuildStatus
    spec: dict[str, Any]
    manifest: dict[str, Any] | None
    lock: dict[str, Any] | None
    image: str | None
    uri: str | None
    error: str | None
    actor: str | None
    size_bytes: int | None
    worker: str | None
    attempts: int
    created_at: int
    triggered_at: int | None
    started_at: int | None
    ended_at: int | None

    @classmethod
    def of(cls, row: Row[Any]) -> BuildRecord:
        """Return a row that begins with `COLUMNS`."""
        held: dict[str, Any] = dict(zip(_NAMES, row, strict=False))
        held["status"] = BuildStatus(held["status"])
        held["spec"] = _object(held["spec"]) or {}
        for name in ("manifest", "lock"):
            held[name] = _object(held[name])
        return cls(**held)

    @property
    def duration_s(self) -> float | None:
        """How long it was built, None before it ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0, self.ended_at - self.started_at) / 1e6


def find_build(connection: Connection, team: str, build_id: str) -> BuildRecord:
    """Return the build with this id, dashed or plain.

    Raises:
        ApiError: with status 404, when the team has none.
    """
    wanted = stored_id("build", build_id)
    row = connection.execute(
        select(*COLUMNS).where(_table.c.team == team, _table.c.id == wanted)
    ).one_or_none()
    if row is None:
        not_found("build", build_id)
    return BuildRecord.of(row)


def list_builds(
    connection: Connection, team: str, environment_id: str, *, limit: int, offset: int
) -> tuple[list[BuildRecord], int]:
    """Return an environment's builds, the newest first, and how many there are."""
    wanted = (_table.c.team == team) & (_table.c.environment_id == environment_id)
    total = connection.execute(select(func.count()).select_from(_table).where(wanted)).scalar()
    when = func.coalesce(_table.c.triggered_at, _table.c.created_at)
    rows = connection.execute(
        select(*COLUMNS)
        .where(wanted)
        .order_by(when.desc(), _table.c.id)
        .limit(limit)
        .offset(offset)
    )
    return [BuildRecord.of(row) for row in rows], int(total or 0)


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found: Any = json.decode(text)
    except ValueError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None
