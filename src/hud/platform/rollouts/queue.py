"""The queue of rollouts, in the database: durable, fair between teams, each leased to one worker.

Every method blocks. A row is `queued`, `leased` to a worker until a moment that the worker keeps
putting off, or `done`. Whoever's lease ran out has lost the row to the next one.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, select, text, update

from hud._core.ids import new_id
from hud.platform.database import Database, now_us
from hud.platform.rollouts.order import Order, RolloutAsk
from hud.store.schema import metadata, runs

_table = metadata.tables["rollout_queue"]
LEASE_US = 20 * 1_000_000
_KEPT_US = 24 * 3600 * 1_000_000
_TOGETHER = 400


@dataclass(frozen=True, slots=True)
class Asked:
    """A rollout to queue."""

    team: str
    run_id: str
    job_id: str
    user_id: str
    key_id: str | None
    ask: RolloutAsk
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancellation met: runs nobody had begun, which are over, and runs under way."""

    waiting: list[str]
    running: list[str]

    @property
    def total(self) -> int:
        """How many runs are to end."""
        return len(self.waiting) + len(self.running)


class Queue:
    """All rollouts of a database. Any number of processes may use it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, asked: Sequence[Asked]) -> list[bool]:
        """Queue rollouts; tell of each whether it is new, for one id is queued once."""
        now = now_us()
        with self._database.writing() as connection:
            known = self._known(connection, [(one.team, one.run_id) for one in asked])
            rows: list[dict[str, Any]] = []
            fresh: list[bool] = []
            for at, one in enumerate(asked):
                key = (one.team, one.run_id)
                fresh.append(key not in known)
                if key in known:
                    continue
                known.add(key)
                rows.append(
                    {
                        "team": one.team,
                        "id": one.run_id,
                        "job_id": one.job_id,
                        "state": "queued",
                        "spec": one.ask.model_dump_json(),
                        "user_id": one.user_id,
                        "key_id": one.key_id,
                        "attempt": one.attempt,
                        "created_at": now + at,
                        "not_before": 0,
                    }
                )
            if rows:
                connection.execute(insert(_table), rows)
        return fresh

    @staticmethod
    def _known(connection: Connection, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        by_team: dict[str, list[str]] = {}
        for team, run_id in keys:
            by_team.setdefault(team, []).append(run_id)
        known: set[tuple[str, str]] = set()
        for team, ids in by_team.items():
            for start in range(0, len(ids), _TOGETHER):
                some = ids[start : start + _TOGETHER]
                found = connection.execute(
                    select(_table.c.id).where(_table.c.team == team, _table.c.id.in_(some))
                ).scalars()
                known.update((team, run_id) for run_id in found)
        return known

    def has_waiting(self) -> bool:
        """Tell whether anything waits for a worker now."""
        with self._database.reading() as connection:
            found = connection.execute(
                select(_table.c.id)
                .where(_table.c.state == "queued", _table.c.not_before <= now_us())
                .limit(1)
            )
            return found.first() is not None

    def count(self, team: str) -> tuple[int, int]:
        """Return how many rollouts of a team wait, and how many are worked on."""
        with self._database.reading() as connection:
            return _count(connection, "queued", team), _count(connection, "leased", team)

    def claim(self, wanted: int, *, per_team: int) -> list[Order]:
        """Take up to `wanted` rollouts, from the teams that have the fewest running.

        Args:
            per_team: How many of one team may run at a time, on all workers together.
        """
        now = now_us()
        with self._database.writing() as connection:
            if not self._database.is_sqlite:
                # Two that choose at the same time would both give a team its last place.
                lock = text("SELECT pg_advisory_xact_lock(hashtext('hud rollout queue'))")
                connection.execute(lock)
            rows: list[Row[Any]] = []
            for team, share in _shares(connection, wanted, per_team).items():
                rows += connection.execute(
                    select(
                        *(_table.c[name] for name in ("team", "id", "job_id", "spec")),
                        *(_table.c[name] for name in ("user_id", "key_id", "attempt")),
                        *(runs.c.member, runs.c.ended_at),
                    )
                    .outerjoin(runs, and_(runs.c.team == _table.c.team, runs.c.id == _table.c.id))
                    .where(
                        _table.c.state == "queued",
                        _table.c.team == team,
                        _table.c.not_before <= now,
                    )
                    .order_by(_table.c.created_at, _table.c.id)
                    .limit(share)
                ).all()
            for row in rows:
                if row.ended_at is not None:  # a run of that id was over before this was asked
                    mine = and_(_table.c.team == row.team, _table.c.id == row.id)
                    connection.execute(_done(now).where(mine))
            orders = [_order(row) for row in rows if row.ended_at is None]
            for order in orders:
                connection.execute(
                    update(_table)
                    .where(_table.c.team == order.team, _table.c.id == order.run_id)
                    .values(state="leased", lease=order.lease, leased_until=now + LEASE_US)
                )
        return orders

    def extend(self, leases: Sequence[str]) -> set[str]:
        """Put off the end of leases; return those that are still held."""
        held: set[str] = set()
        until = now_us() + LEASE_US
        with self._database.writing() as connection:
            for start in range(0, len(leases), _TOGETHER):
                wanted = _table.c.lease.in_(leases[start : start + _TOGETHER])
                connection.execute(update(_table).where(wanted).values(leased_until=until))
                held.update(connection.execute(select(_table.c.lease).where(wanted)).scalars())
        return held

    def cancelled(self, leases: Sequence[str]) -> dict[str, str]:
        """Return those of the leases whose runs somebody wants to end, with the reasons."""
        found: dict[str, str] = {}
        with self._database.reading() as connection:
            for start in range(0, len(leases), _TOGETHER):
                rows = connection.execute(
                    select(_table.c.lease, _table.c.cancel_reason).where(
                        _table.c.lease.in_(leases[start : start + _TOGETHER]),
                        _table.c.cancel_reason.is_not(None),
                    )
                )
                found.update((row.lease, row.cancel_reason) for row in rows)
        return found

    def finish(self, leases: Sequence[str]) -> set[tuple[str, str]]:
        """Say that what was leased is over and recorded; return its jobs, as (team, id)."""
        found: set[tuple[str, str]] = set()
        with self._database.writing() as connection:
            for lease in leases:
                mine = _table.c.lease == lease
                rows = connection.execute(select(_table.c.team, _table.c.job_id).where(mine))
                found.update((row.team, row.job_id) for row in rows)
                connection.execute(_done(now_us()).where(mine))
        return found

    def cancel(
        self, team: str, *, reason: str, runs: Iterable[str] = (), job_id: str | None = None
    ) -> Cancelled:
        """End what waits, and tell the workers to end what they run."""
        wanted = _table.c.job_id == job_id if job_id is not None else _table.c.id.in_(list(runs))
        mine = and_(_table.c.team == team, wanted)
        with self._database.writing() as connection:
            waits = and_(mine, _table.c.state == "queued")
            waiting = list(connection.execute(select(_table.c.id).where(waits)).scalars())
            connection.execute(_done(now_us()).where(waits))
            works = and_(mine, _table.c.state == "leased")
            running = list(connection.execute(select(_table.c.id).where(works)).scalars())
            connection.execute(update(_table).where(works).values(cancel_reason=reason))
        return Cancelled(waiting, running)

    def open_jobs(self) -> list[tuple[str, str]]:
        """Return the jobs, as (team, id), of which anything waits or is worked on."""
        with self._database.reading() as connection:
            found = connection.execute(
                select(_table.c.team, _table.c.job_id)
                .where(_table.c.state.in_(("queued", "leased")))
                .distinct()
            )
            return [(row.team, row.job_id) for row in found]

    def expired(self) -> list[Order]:
        """Return what was leased to workers that fell silent; to be settled by `attempts`."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(_table, runs.c.member)
                .outerjoin(runs, and_(runs.c.team == _table.c.team, runs.c.id == _table.c.id))
                .where(_table.c.state == "leased", _table.c.leased_until < now_us())
            ).all()
        return [_order(row, row.lease) for row in rows]

    def forget(self) -> None:
        """Delete what was over long ago."""
        with self._database.writing() as connection:
            over = and_(_table.c.state == "done", _table.c.ended_at < now_us() - _KEPT_US)
            connection.execute(_table.delete().where(over))


def _done(now: int) -> Any:
    # What was asked may be long, and its run says it all.
    return update(_table).values(state="done", ended_at=now, lease=None, spec="{}")


def _count(connection: Connection, state: str, team: str) -> int:
    wanted = and_(_table.c.state == state, _table.c.team == team)
    found = connection.execute(select(func.count()).select_from(_table).where(wanted))
    return int(found.scalar() or 0)


def _shares(connection: Connection, wanted: int, per_team: int) -> dict[str, int]:
    """Share `wanted` places among the teams that wait: the next one to who has the fewest."""
    counted = connection.execute(
        select(_table.c.team, func.count())
        .where(_table.c.state == "leased")
        .group_by(_table.c.team)
    )
    running: dict[str, int] = {row[0]: row[1] for row in counted}
    waiting = list(_waiting_teams(connection))
    random.shuffle(waiting)  # among equals nobody is always first
    shares: dict[str, int] = {}
    for _ in range(wanted):
        free = [team for team in waiting if running.get(team, 0) < per_team]
        if not free:
            break
        team = min(free, key=lambda one: running.get(one, 0))
        running[team] = running.get(team, 0) + 1
        shares[team] = shares.get(team, 0) + 1
    return shares


def _waiting_teams(connection: Connection) -> Iterable[str]:
    """Yield the teams that wait, each found by one step into the index."""
    last = ""
    while True:
        found = connection.execute(
            select(func.min(_table.c.team)).where(_table.c.state == "queued", _table.c.team > last)
        ).scalar()
        if found is None:
            return
        yield found
        last = found


def _order(row: Row[Any], lease: str | None = None) -> Order:
    return Order(
        team=row.team,
        run_id=row.id,
        job_id=row.job_id,
        user_id=row.user_id,
        key_id=row.key_id,
        attempt=row.attempt,
        member=max(row.member or 0, 0),
        lease=lease or new_id(),
        ask=RolloutAsk.model_validate_json(row.spec),
    )
