"""What was used, read back: sums over groups, and call by call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from hud.platform.gateway.budgets import of_job
from hud.platform.gateway.tables import usage

GroupBy = Literal["model", "provider", "key", "job", "trace", "status"]

_COLUMNS = {
    "model": usage.c.model,
    "provider": usage.c.provider,
    "key": usage.c.key_id,
    "job": usage.c.job_id,
    "trace": usage.c.run_id,
    "status": usage.c.status,
}


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which calls; None is any. Times are microseconds, `until` is not included."""

    key_id: str | None = None
    job_id: str | None = None
    run_id: str | None = None
    model: str | None = None
    provider: str | None = None
    since: int | None = None
    until: int | None = None

    def where(self, team: str) -> list[ColumnElement[bool]]:
        """Return the conditions."""
        found: list[ColumnElement[bool]] = [usage.c.team == team]
        pairs = (
            (usage.c.key_id, self.key_id),
            (usage.c.run_id, self.run_id),
            (usage.c.model, self.model),
            (usage.c.provider, self.provider),
        )
        found += [column == value for column, value in pairs if value is not None]
        if self.job_id is not None:
            found.append(of_job(team, self.job_id))
        if self.since is not None:
            found.append(usage.c.at >= self.since)
        if self.until is not None:
            found.append(usage.c.at < self.until)
        return found


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Calls of one group together.

    Attributes:
        group: The values it is grouped by, in the order asked for.
        failed_calls: Those that were answered with an error, or that the client left.
        unpriced_calls: Those whose price is not known; they are not in `cost_usd`.
    """

    group: tuple[Any, ...]
    calls: int
    failed_calls: int
    cached_calls: int
    unpriced_calls: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_usd: float


def sums(
    connection: Connection, team: str, wanted: UsageFilter, by: Sequence[GroupBy], *, limit: int
) -> list[UsageSum]:
    """Return the sums of each group, the costliest first; one row for everything without groups."""
    columns = [_COLUMNS[name] for name in by]
    paid = usage.c.is_cached == 0
    cost = func.coalesce(func.sum(usage.c.cost_usd), 0.0)
    query = select(
        *columns,
        func.count(),
        func.coalesce(func.sum(case((usage.c.status >= 400, 1), else_=0)), 0),
        func.coalesce(func.sum(usage.c.is_cached), 0),
        func.coalesce(func.sum(case((usage.c.cost_usd.is_(None), 1), else_=0)), 0),
        func.coalesce(func.sum(case((paid, usage.c.prompt_tokens), else_=0)), 0),
        func.coalesce(func.sum(case((paid, usage.c.completion_tokens), else_=0)), 0),
        func.coalesce(func.sum(case((paid, usage.c.cached_tokens), else_=0)), 0),
        cost,
    ).where(*wanted.where(team))
    if columns:
        query = query.group_by(*columns).order_by(cost.desc(), *columns).limit(limit)
    width = len(columns)
    found: list[UsageSum] = []
    for row in connection.execute(query):
        values = list(row)
        calls, failed, cached, unpriced, prompt, completion, read = map(int, values[width:-1])
        found.append(
            UsageSum(
                tuple(values[:width]),
                calls,
                failed,
                cached,
                unpriced,
                prompt,
                completion,
                read,
                float(values[-1]),
            )
        )
    return found


def read_calls(
    connection: Connection,
    team: str,
    wanted: UsageFilter,
    *,
    limit: int,
    before: tuple[int, str] | None = None,
) -> list[dict[str, Any]]:
    """Return up to `limit` calls, newest first; those older than `before`, its time and id."""
    query = select(usage).where(*wanted.where(team))
    if before is not None:
        at, call_id = before
        query = query.where(or_(usage.c.at < at, and_(usage.c.at == at, usage.c.id < call_id)))
    rows = connection.execute(query.order_by(usage.c.at.desc(), usage.c.id.desc()).limit(limit))
    return [dict(row) for row in rows.mappings()]
