"""Budgets: how much a team, a key, a job or a run may spend on models, and when that is used up.

A call is let in while what was spent, and what calls in flight may yet spend, stays under the
budget. What is in flight is reserved at the most it may take, so many calls at once overshoot by
one call and not by all of them. A call that only reservations stand before waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update

from hud._core.errors import InputError, StoreError, bounded
from hud.models.asgi import Refusal
from hud.platform.database import Database, now_us
from hud.platform.gateway.tables import budgets, runs, usage

BudgetScope = Literal["team", "key", "job", "run"]
SCOPES: tuple[BudgetScope, ...] = get_args(BudgetScope)

FRESH_S = 2.0
_COUNTED_ANEW_S = 15.0
_WAIT_S = 60.0
_LONGEST_SUBJECT = 64


@dataclass(frozen=True, slots=True)
class Budget:
    """One limit. `subject` is the id of the key, job or run; empty for the team's own."""

    scope: BudgetScope
    subject: str
    max_cost_usd: float | None
    max_tokens: int | None
    created_at: int

    @property
    def name(self) -> str:
        """How messages call it."""
        return "the team's budget" if self.scope == "team" else f"the budget of this {self.scope}"


@dataclass(frozen=True, slots=True)
class Amount:
    """Money and tokens; of unknown price is money of zero."""

    cost_usd: float = 0.0
    tokens: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.cost_usd + other.cost_usd, self.tokens + other.tokens)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.cost_usd - other.cost_usd, self.tokens - other.tokens)


@dataclass(frozen=True, slots=True)
class Spender:
    """Whose call it is: whatever of these has a budget is asked."""

    team: str
    key_id: str | None = None
    job_id: str | None = None
    run_id: str | None = None

    def subject(self, scope: BudgetScope) -> str | None:
        """Return the id this call has in a scope, None for none."""
        match scope:
            case "team":
                return ""
            case "key":
                return self.key_id
            case "job":
                return self.job_id
            case "run":
                return self.run_id


def put_budget(
    connection: Connection,
    team: str,
    scope: BudgetScope,
    subject: str,
    *,
    max_cost_usd: float | None,
    max_tokens: int | None,
) -> Budget:
    """Keep a budget; one that is there gets new limits, and what it has spent still counts.

    Raises:
        InputError: when it limits nothing, or its subject cannot be one.
    """
    if max_cost_usd is None and max_tokens is None:
        raise InputError("a budget needs max_cost_usd or max_tokens")
    if max_cost_usd is not None and not (math.isfinite(max_cost_usd) and max_cost_usd >= 0):
        raise InputError(f"{max_cost_usd} is no amount of money")
    if (scope == "team") != (not subject) or len(subject) > _LONGEST_SUBJECT:
        raise InputError(
            f"{bounded(subject)!r} is no subject of a budget for a {scope}",
            hint="the id of a key, job or run; none for the team",
        )
    mine = (budgets.c.team == team, budgets.c.scope == scope, budgets.c.subject == subject)
    limits = {"max_cost_usd": max_cost_usd, "max_tokens": max_tokens}
    if not connection.execute(update(budgets).where(*mine).values(**limits)).rowcount:
        key = {"team": team, "scope": scope, "subject": subject, "created_at": now_us()}
        connection.execute(insert(budgets).values(**key, **limits))
    [kept] = [
        one
        for one in read_budgets(connection, team)
        if (one.scope, one.subject) == (scope, subject)
    ]
    return kept


def remove_budget(connection: Connection, team: str, scope: str, subject: str) -> bool:
    """Forget a budget; return whether there was one."""
    gone = connection.execute(
        delete(budgets).where(
            budgets.c.team == team, budgets.c.scope == scope, budgets.c.subject == subject
        )
    )
    return bool(gone.rowcount)


def read_budgets(connection: Connection, team: str) -> list[Budget]:
    """Return the budgets of a team, oldest first."""
    columns = ("scope", "subject", "max_cost_usd", "max_tokens", "created_at")
    rows = connection.execute(
        select(*(budgets.c[name] for name in columns))
        .where(budgets.c.team == team)
        .order_by(budgets.c.created_at, budgets.c.scope, budgets.c.subject)
    )
    return [Budget(*row) for row in rows]


def spent_of(connection: Connection, team: str, budget: Budget) -> Amount:
    """Return what was spent on a budget's account, as far as it is written down.

    A job's and a run's budget count everything of theirs, a team's and a key's what came later than
    the budget.
    """
    where = [usage.c.team == team]
    match budget.scope:
        case "team":
            where.append(usage.c.at >= budget.created_at)
        case "key":
            where += [usage.c.key_id == budget.subject, usage.c.at >= budget.created_at]
        case "job":
            where.append(of_job(team, budget.subject))
        case "run":
            where.append(usage.c.run_id == budget.subject)
    cost, tokens = connection.execute(
        select(
            func.coalesce(func.sum(usage.c.cost_usd), 0.0),
            func.coalesce(func.sum(usage.c.prompt_tokens + usage.c.completion_tokens), 0),
        ).where(*where, usage.c.is_cached == 0)
    ).one()
    return Amount(float(cost), int(tokens))


def of_job(team: str, job_id: str) -> ColumnElement[bool]:
    """Return what finds the usage of a job, also of runs that were reported after they called."""
    mine = select(runs.c.id).where(runs.c.team == team, runs.c.job_id == job_id)
    return or_(usage.c.job_id == job_id, usage.c.run_id.in_(mine))


class Account:
    """What one budget has left: spent, and reserved by calls in flight."""

    def __init__(self, budget: Budget, spent: Amount) -> None:
        self.budget = budget
        self.spent = spent
        self.reserved = Amount()
        self.counted_at = time.monotonic()
        self.changed = asyncio.Event()

    def used_up(self) -> str | None:
        """Return which limit is reached for good, as messages say it; None when none is."""
        return self._reached(self.spent)

    @property
    def is_full(self) -> bool:
        """Whether calls in flight may use up what is left."""
        return self._reached(self.spent + self.reserved) is not None

    def _reached(self, amount: Amount) -> str | None:
        budget = self.budget
        if budget.max_cost_usd is not None and amount.cost_usd >= budget.max_cost_usd:
            return f"{budget.max_cost_usd:g} USD"
        if budget.max_tokens is not None and amount.tokens >= budget.max_tokens:
            return f"{budget.max_tokens} tokens"
        return None

    def notify(self) -> None:
        """Wake whoever waits for room."""
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass(slots=True)
class Reservation:
    """What one call in flight may take, on every account it is on; settled once."""

    accounts: Sequence[Account] = ()
    most: Amount = field(default_factory=Amount)
    _is_settled: bool = False

    def settle(self, taken: Amount) -> None:
        """Put what the call took in place of what it might have taken."""
        if self._is_settled:
            return
        self._is_settled = True
        for account in self.accounts:
            account.reserved -= self.most
            account.spent += taken
            account.notify()


@dataclass(slots=True)
class _Team:
    accounts: dict[tuple[str, str], Account]
    read_at: float


class Budgets:
    """The accounts of all teams that call here. Belongs to one event loop."""

    def __init__(self, database: Database, write_down: Callable[[], Awaitable[None]]) -> None:
        """Make the accounts.

        Args:
            write_down: Writes every call that has ended, so that counting finds it.
        """
        self._database = database
        self._write_down = write_down
        self._teams: dict[str, _Team] = {}
        self._reading: dict[str, asyncio.Lock] = {}

    async def applying(self, team: str) -> set[BudgetScope]:
        """Return the scopes a team has budgets in, none for a team without budgets."""
        found = await self._team(team)
        return {account.budget.scope for account in found.accounts.values()}

    async def reserve(self, spender: Spender, most: Amount) -> Reservation:
        """Let a call in, and reserve the most it may take.

        Raises:
            Refusal: with status 402 naming the budget that is used up; with 429 when calls in
                flight hold all of it for too long.
        """
        accounts = await self._accounts(spender)
        if not accounts:
            return Reservation()
        try:
            async with asyncio.timeout(_WAIT_S):
                while (full := self._first_full(accounts)) is not None:
                    await full.changed.wait()
        except TimeoutError:
            held = next(account for account in accounts if account.is_full)
            message = f"calls in flight hold all that is left of {held.budget.name}"
            code = "budget_reserved"
            raise Refusal(429, code, message, may_pass=True, retry_after_s=5.0) from None
        for account in accounts:
            account.reserved += most
        return Reservation(accounts, most)

    def forget(self, team: str) -> None:
        """Read a team's budgets anew at the next call: they changed."""
        found = self._teams.get(team)
        if found is not None:
            found.read_at = -math.inf

    def _first_full(self, accounts: Sequence[Account]) -> Account | None:
        for account in accounts:
            limit = account.used_up()
            if limit is not None:
                budget = account.budget
                message = f"{budget.name} is used up: {limit}"
                raise Refusal(402, "budget_exhausted", message)
        return next((account for account in accounts if account.is_full), None)

    async def _accounts(self, spender: Spender) -> list[Account]:
        found = (await self._team(spender.team)).accounts
        if not found:
            return []
        mine: list[Account] = []
        for scope in SCOPES:
            subject = spender.subject(scope)
            account = found.get((scope, subject)) if subject is not None else None
            if account is not None:
                mine.append(account)
        return mine

    async def _team(self, team: str) -> _Team:
        found = self._teams.get(team)
        if found is not None and time.monotonic() - found.read_at < FRESH_S:
            return found
        lock = self._reading.setdefault(team, asyncio.Lock())
        async with lock:
            found = self._teams.get(team)
            if found is not None and time.monotonic() - found.read_at < FRESH_S:
                return found
            return await self._read(team, found)

    async def _read(self, team: str, held: _Team | None) -> _Team:
        """Read the budgets, and count anew what others may have spent on long-known accounts."""
        accounts = held.accounts if held is not None else {}
        now = time.monotonic()
        kept = {
            key: account
            for key, account in accounts.items()
            if self._database.is_sqlite or now - account.counted_at < _COUNTED_ANEW_S
        }
        listed = await asyncio.to_thread(self._listed, team)
        fresh: dict[tuple[str, str], Account] = {}
        for budget in listed:
            key = (budget.scope, budget.subject)
            account = accounts.get(key)
            if account is None or account.budget.created_at != budget.created_at:
                account = Account(budget, await self._counted(team, budget))
            elif key not in kept:
                before = account.spent
                counted = await self._counted(team, budget)
                # What ended meanwhile may not have been written yet: rather counted twice.
                account.spent = counted + (account.spent - before)
                account.counted_at = now
            if account.budget != budget:
                account.budget = budget
                account.notify()
            fresh[key] = account
        self._teams[team] = found = _Team(fresh, time.monotonic())
        return found

    async def _counted(self, team: str, budget: Budget) -> Amount:
        with contextlib.suppress(StoreError):
            await self._write_down()

        def count() -> Amount:
            with self._database.reading() as connection:
                return spent_of(connection, team, budget)

        return await asyncio.to_thread(count)

    def _listed(self, team: str) -> list[Budget]:
        with self._database.reading() as connection:
            return read_budgets(connection, team)
