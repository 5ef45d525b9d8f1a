"""Attempts that are tried again: what was recorded of one is set aside, as a run of its own.

A run keeps its id through all attempts, for that is what its client asks about. So an attempt that
failed is moved to another id, where it stands as any earlier attempt does.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, and_, insert, literal, select, update

from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud._core.redact import redact
from hud.platform.database import Database, now_us
from hud.platform.rollouts.order import Order
from hud.store.schema import jobs, metadata, runs, steps

_queue = metadata.tables["rollout_queue"]
_debug_spans, _usage = metadata.tables["debug_spans"], metadata.tables["usage"]
_COUNTS = (
    *("prompt_tokens", "completion_tokens", "cached_tokens"),
    *("llm_calls", "turns", "unpriced_turns"),
)


@dataclass(frozen=True, slots=True)
class Broken:
    """How an attempt ended without a grade."""

    outcome: Outcome
    error: str


def try_again(database: Database, order: Order, broken: Broken, *, delay_s: float) -> bool:
    """Set an attempt aside and queue the next; False when its lease is another's by now.

    Everything that was recorded of it has to be in the database already.
    """
    now = now_us()
    with database.writing() as connection:
        mine = and_(
            _queue.c.team == order.team,
            _queue.c.id == order.run_id,
            _queue.c.state == "leased",
            _queue.c.lease == order.lease,
        )
        queued = connection.execute(
            update(_queue)
            .where(mine)
            .values(
                state="queued",
                lease=None,
                attempt=order.attempt + 1,
                not_before=now + int(delay_s * 1e6),
            )
        )
        if queued.rowcount != 1:
            return False
        _set_aside(connection, order, broken, now)
    return True


def has_ended(database: Database, order: Order) -> bool:
    """Tell whether a run is recorded to its end, graded or not."""
    with database.reading() as connection:
        found = connection.execute(
            select(runs.c.ended_at).where(runs.c.team == order.team, runs.c.id == order.run_id)
        ).scalar()
    return found is not None


def _set_aside(connection: Connection, order: Order, broken: Broken, now: int) -> None:
    team, run_id, other = order.team, order.run_id, new_id()
    said = {
        "id": other,
        "attempt": order.attempt,
        "status": "error",
        "outcome": broken.outcome.value,
        "error": redact(broken.error),
        "ended_at": now,
    }
    columns = list(runs.c)
    values = [literal(said[one.name]) if one.name in said else one for one in columns]
    this = and_(runs.c.team == team, runs.c.id == run_id)
    connection.execute(insert(runs).from_select(columns, select(*values).where(this)))
    for table in (steps, _debug_spans, _usage):
        of_run = and_(table.c.team == team, table.c.run_id == run_id)
        connection.execute(update(table).where(of_run).values(run_id=other))
    connection.execute(
        update(runs)
        .where(this)
        .values(
            attempt=order.attempt + 1,
            status="pending",
            started_at=now,
            cost_usd=None,
            known_cost_usd=None,
            **dict.fromkeys(_COUNTS, 0),
        )
    )
    connection.execute(
        update(jobs).where(jobs.c.team == team, jobs.c.id == order.job_id).values(summary=None)
    )
