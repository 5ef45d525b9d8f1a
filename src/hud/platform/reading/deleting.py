"""Deleting a job, a few runs at a time, so that nobody who records has to wait for the whole.

Blobs stay until they are collected: others of the team may hold the same ones.
"""

from __future__ import annotations

from sqlalchemy import delete, select

from hud.platform.database import Database
from hud.store.schema import jobs, metadata, runs, steps

_RUNS_TOGETHER = 100
_debug_spans = metadata.tables["debug_spans"]
_cancellations = metadata.tables["cancellations"]


def delete_job_records(database: Database, team: str, job_id: str) -> int:
    """Delete a job and everything in it; return how many runs that were.

    Interrupted half-way, the job is still there with the runs that are left.

    Raises:
        StoreError: when the database cannot be written.
    """
    count = 0
    while True:
        with database.writing() as connection:
            query = select(runs.c.id).where(runs.c.team == team, runs.c.job_id == job_id)
            run_ids = list(connection.execute(query.limit(_RUNS_TOGETHER)).scalars())
            if not run_ids:
                connection.execute(
                    delete(_cancellations).where(
                        _cancellations.c.team == team, _cancellations.c.job_id == job_id
                    )
                )
                connection.execute(delete(jobs).where(jobs.c.team == team, jobs.c.id == job_id))
                return count
            for table in (steps, _debug_spans):
                connection.execute(
                    delete(table).where(table.c.team == team, table.c.run_id.in_(run_ids))
                )
            connection.execute(delete(runs).where(runs.c.team == team, runs.c.id.in_(run_ids)))
            count += len(run_ids)
