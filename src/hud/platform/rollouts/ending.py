"""When a job that the platform launched is over: nothing of it waits or is worked on any more.

What a client submits one by one is ended by that client.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import and_, select

from hud.platform.database import Database, now_us
from hud.store import JobEnd, JobStatus, Store
from hud.store.schema import jobs, metadata

RUNTIME = "platform"
"""What a job says of where it runs when it was launched here."""

_queue = metadata.tables["rollout_queue"]


def end_if_over(
    database: Database, store: Store, launched: Iterable[tuple[str, str]], status: JobStatus
) -> None:
    """End those of the jobs, given as (team, id), that were launched and have nothing open."""
    over: list[tuple[str, str]] = []
    with database.reading() as connection:
        for team, job_id in set(launched):
            is_open = (
                select(_queue.c.id)
                .where(
                    _queue.c.team == jobs.c.team,
                    _queue.c.job_id == jobs.c.id,
                    _queue.c.state.in_(("queued", "leased")),
                )
                .exists()
            )
            mine = and_(jobs.c.team == team, jobs.c.id == job_id, jobs.c.runtime == RUNTIME)
            unended = and_(mine, jobs.c.ended_at.is_(None), ~is_open)
            if connection.execute(select(jobs.c.id).where(unended)).first() is not None:
                over.append((team, job_id))
    for team, job_id in over:
        store.put(JobEnd(team=team, id=job_id, status=status, ended_at=now_us()))
