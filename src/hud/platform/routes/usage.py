"""What model calls took, and the budgets that end them, over the API."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from hud._core.errors import StoreError
from hud._core.ids import normal_id
from hud.platform.accounts import audit
from hud.platform.cursors import decode_cursor, encode_cursor
from hud.platform.errors import not_found
from hud.platform.gateway.budgets import (
    Budget,
    BudgetScope,
    put_budget,
    read_budgets,
    remove_budget,
    spent_of,
)
from hud.platform.gateway.usage_reading import GroupBy, UsageFilter, UsageSum, read_calls, sums
from hud.platform.identity import Admin, Reader
from hud.platform.routes.asked import Cursor, Limit, Text, refusals
from hud.platform.routes.models import gateway_of
from hud.platform.services import services_of
from hud.platform.times import iso_required


async def _written(request: Request) -> None:
    """Have every call that has ended here written down before it is read."""
    with contextlib.suppress(StoreError):
        await gateway_of(request).usage.flush()


router = APIRouter(prefix="/v2", tags=["usage"], dependencies=[Depends(_written)])

WholeId = Annotated[str | None, Query(max_length=64, pattern=r"^[0-9a-fA-F-]+$")]
Since = Annotated[datetime | None, Query(description="ISO 8601; without a zone it is UTC.")]
Subject = Annotated[str, Path(max_length=64)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Shape(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class UsageItem(_Shape):
    """Sums of a group. What came from the cache counts as a call and costs nothing.

    Attributes:
        group: Value by name of what it is grouped by; empty for everything together.
        unpriced_calls: Calls whose price is not known; they are not in `cost_usd`.
    """

    group: dict[str, str | int | None]
    calls: int
    failed_calls: int
    cached_calls: int
    unpriced_calls: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_usd: float


class UsagePage(_Shape):
    """Groups, the costliest first, and everything together."""

    items: list[UsageItem]
    total: UsageItem


class CallItem(_Shape):
    """One call; `status` is 499 where the client went away before the end."""

    id: str
    at: str
    key_id: str | None
    job_id: str | None
    trace_id: str | None
    provider: str
    model: str
    dialect: str
    status: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_usd: float | None
    is_cached: bool
    duration_ms: int | None
    error: str | None


class CallPage(_Shape):
    """Calls, newest first."""

    items: list[CallItem]
    next_cursor: str | None


class BudgetItem(_Shape):
    """A limit and what was spent of it; `subject` is empty for the team's own."""

    scope: BudgetScope
    subject: str
    max_cost_usd: float | None
    max_tokens: int | None
    spent_cost_usd: float
    spent_tokens: int
    created_at: str


class BudgetPage(_Shape):
    """All budgets of the team, oldest first."""

    items: list[BudgetItem]
    total: int


class BudgetWanted(_Shape):
    """A budget to set: at least one limit."""

    scope: BudgetScope
    subject: str = Field(default="", max_length=64, pattern=r"^[0-9a-fA-F-]*$")
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=0, le=2**62)


class BudgetRemoved(_Shape):
    """A budget that is gone."""

    scope: BudgetScope
    subject: str


@router.get("/usage", responses=refusals(400))
def read_usage(
    request: Request,
    caller: Reader,
    group_by: Annotated[list[GroupBy] | None, Query(max_length=3)] = None,
    key: WholeId = None,
    job: WholeId = None,
    trace: WholeId = None,
    model: Text = None,
    provider: Text = None,
    since: Since = None,
    until: Since = None,
    limit: Limit = 100,
) -> UsagePage:
    """Return what calls took, all together and by group."""
    wanted = _filter(key, job, trace, model, provider, since, until)
    by = list(dict.fromkeys(group_by or []))
    with services_of(request).database.reading() as connection:
        [total] = sums(connection, caller.team, wanted, (), limit=1)
        groups = sums(connection, caller.team, wanted, by, limit=limit) if by else []
    return UsagePage(items=[_sum(one, by) for one in groups], total=_sum(total, []))


@router.get("/usage/calls", responses=refusals(400))
def list_calls(
    request: Request,
    caller: Reader,
    key: WholeId = None,
    job: WholeId = None,
    trace: WholeId = None,
    model: Text = None,
    provider: Text = None,
    since: Since = None,
    until: Since = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> CallPage:
    """List calls one by one."""
    wanted = _filter(key, job, trace, model, provider, since, until)
    before = None
    if cursor is not None:
        at, call_id = decode_cursor(cursor, int, str)
        before = (at, call_id)
    with services_of(request).database.reading() as connection:
        rows = read_calls(connection, caller.team, wanted, limit=limit, before=before)
    last = rows[-1] if len(rows) == limit else None
    after = encode_cursor(last["at"], last["id"]) if last is not None else None
    return CallPage(items=[_call(row) for row in rows], next_cursor=after)


@router.get("/budgets", responses=refusals())
def list_budgets(request: Request, caller: Reader) -> BudgetPage:
    """List the team's budgets with what was spent of each."""
    with services_of(request).database.reading() as connection:
        items = [
            _budget(budget, spent_of(connection, caller.team, budget))
            for budget in read_budgets(connection, caller.team)
        ]
    return BudgetPage(items=items, total=len(items))


@router.put("/budgets", responses=refusals(400))
def set_budget(request: Request, caller: Admin, wanted: BudgetWanted) -> BudgetItem:
    """Set a budget, or give the one that is there new limits; what it has spent still counts."""
    subject = normal_id(wanted.subject)
    with services_of(request).database.writing() as connection:
        budget = put_budget(
            connection,
            caller.team,
            wanted.scope,
            subject,
            max_cost_usd=wanted.max_cost_usd,
            max_tokens=wanted.max_tokens,
        )
        spent = spent_of(connection, caller.team, budget)
        limits = wanted.model_dump(include={"max_cost_usd", "max_tokens"})
        name = f"{budget.scope} {subject}".strip()
        audit.note(connection, caller.team, caller.name, "budget.put", name, **limits)
    gateway_of(request).calls.budgets.forget(caller.team)
    return _budget(budget, spent)


@router.delete("/budgets/{scope}", responses=refusals(404))
def delete_team_budget(request: Request, caller: Admin, scope: BudgetScope) -> BudgetRemoved:
    """Remove the team's own budget."""
    return _removed(request, caller, scope, "")


@router.delete("/budgets/{scope}/{subject}", responses=refusals(404))
def delete_budget(
    request: Request, caller: Admin, scope: BudgetScope, subject: Subject
) -> BudgetRemoved:
    """Remove a budget of a key, a job or a run."""
    return _removed(request, caller, scope, normal_id(subject))


def _removed(request: Request, caller: Admin, scope: BudgetScope, subject: str) -> BudgetRemoved:
    name = f"{scope} {subject}".strip()
    with services_of(request).database.writing() as connection:
        if not remove_budget(connection, caller.team, scope, subject):
            not_found("budget", name)
        audit.note(connection, caller.team, caller.name, "budget.remove", name)
    gateway_of(request).calls.budgets.forget(caller.team)
    return BudgetRemoved(scope=scope, subject=subject)


def _filter(
    key: str | None,
    job: str | None,
    trace: str | None,
    model: str | None,
    provider: str | None,
    since: datetime | None,
    until: datetime | None,
) -> UsageFilter:
    return UsageFilter(
        key_id=normal_id(key) if key else None,
        job_id=normal_id(job) if job else None,
        run_id=normal_id(trace) if trace else None,
        model=model,
        provider=provider,
        since=_micros(since),
        until=_micros(until),
    )


def _micros(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int((aware - _EPOCH).total_seconds() * 1_000_000)


def _sum(found: UsageSum, by: list[GroupBy]) -> UsageItem:
    return UsageItem(
        group=dict(zip(by, found.group, strict=True)),
        calls=found.calls,
        failed_calls=found.failed_calls,
        cached_calls=found.cached_calls,
        unpriced_calls=found.unpriced_calls,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        cached_tokens=found.cached_tokens,
        cost_usd=found.cost_usd,
    )


def _call(row: dict[str, Any]) -> CallItem:
    names = set(CallItem.model_fields) - {"at", "trace_id", "is_cached"}
    return CallItem(
        at=iso_required(row["at"]),
        trace_id=row["run_id"],
        is_cached=bool(row["is_cached"]),
        **{name: row[name] for name in names},
    )


def _budget(budget: Budget, spent: Any) -> BudgetItem:
    return BudgetItem(
        scope=budget.scope,
        subject=budget.subject,
        max_cost_usd=budget.max_cost_usd,
        max_tokens=budget.max_tokens,
        spent_cost_usd=spent.cost_usd,
        spent_tokens=spent.tokens,
        created_at=iso_required(budget.created_at),
    )
