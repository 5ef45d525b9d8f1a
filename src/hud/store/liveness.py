"""Whether anybody still works on a job: a lock beside this store, or having been heard lately.

Nobody reports the end of a job. So a reported one is running while a run of it is unfinished and
it was heard within `SILENCE_S`, interrupted when it fell silent, and completed when all ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from hud.store.rows import JobStatus
from hud.store.session import Session

SILENCE_S = 600
"""How long a reported job may say nothing before it counts as interrupted."""

# An unfinished attempt that was tried again since does not keep its job open.
_STANDING = """
SELECT column2,
  EXISTS (SELECT 1 FROM runs WHERE team = column1 AND job_id = column2),
  EXISTS (
    SELECT 1 FROM runs AS one WHERE team = column1 AND job_id = column2 AND ended_at IS NULL
    AND NOT EXISTS (
      SELECT 1 FROM runs AS later WHERE later.team = one.team AND later.job_id = one.job_id
      AND later.task_slug = one.task_slug AND later.member = one.member
      AND later.attempt > one.attempt
    )
  )
FROM ({rows}) AS v
"""
_HEARD = """
SELECT id, heard_at FROM ({rows}) AS v JOIN jobs ON jobs.team = column1 AND jobs.id = column2
"""


def silent_before() -> int:
    """Return the moment before which a reported job must have been heard to count as silent."""
    return time.time_ns() // 1000 - SILENCE_S * 1_000_000


def reported_statuses(session: Session, team: str, heard: dict[str, int]) -> dict[str, JobStatus]:
    """Return how the reported jobs `heard` (id: when) of a team stand that have no end."""
    if not heard:
        return {}
    limit = silent_before()
    statuses: dict[str, JobStatus] = {}
    keys = [(team, job_id) for job_id in sorted(heard)]
    for job_id, has_runs, has_open in session.query_rows(_STANDING, ("team", "id"), keys):
        if has_runs and not has_open:
            statuses[job_id] = "completed"
        else:
            statuses[job_id] = "interrupted" if heard[job_id] < limit else "running"
    return statuses


def living_jobs(
    session: Session,
    team: str,
    job_ids: Iterable[str],
    held_jobs: Callable[[Session, Iterable[str]], set[str]],
) -> set[str]:
    """Return those of the jobs that somebody works on."""
    keys = [(team, job_id) for job_id in sorted(set(job_ids))]
    if not keys:
        return set()
    limit = silent_before()
    heard: dict[str, int | None] = dict(session.query_rows(_HEARD, ("team", "id"), keys))
    local = [job_id for _, job_id in keys if heard.get(job_id) is None]
    lately = {job_id for job_id, at in heard.items() if at is not None and at >= limit}
    return lately | held_jobs(session, local) if local else lately
