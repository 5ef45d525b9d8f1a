"""Ending a job: its reporter is told with the next answer, a process of this machine by a signal.

A job that a `hud eval` records into this same store is held by a lock of its process. That process
is interrupted as by Ctrl-C, which ends its runs in order.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from hud.platform.accounts import audit, tables
from hud.platform.identity import Caller
from hud.platform.ingest.cancellations import WHOLE_JOB
from hud.platform.ingest.intake import Intake
from hud.platform.services import Services
from hud.store import LOCAL_TEAM, JobFilter, JobRecord, job_holder
from hud.store.schema import runs

logger = logging.getLogger(__name__)

_JOBS_TOGETHER = 100


@dataclass(frozen=True, slots=True)
class Ended:
    """How many unfinished runs are to end, of how many the job has."""

    cancelled: int
    total: int


def stop_job(services: Services, intake: Intake, caller: Caller, job: JobRecord) -> Ended:
    """Ask whoever works on a job to end it.

    Raises:
        StoreError: when that cannot be kept.
    """
    with services.database.reading() as connection:
        counted = select(func.count(), func.count(runs.c.ended_at)).where(
            runs.c.team == job.team, runs.c.job_id == job.id
        )
        total, finished = connection.execute(counted).one()
    if job.status != "running":
        return Ended(0, total)
    intake.cancellations.add(job.team, job.id, [WHOLE_JOB], caller.name)
    if job.heard_at is None:
        interrupt_holder(services, job)
    with services.database.writing() as connection:
        audit.note(connection, caller.team, caller.name, "job.cancel", job.id, name=job.name)
    return Ended(total - finished, total)


def interrupt_holder(services: Services, job: JobRecord) -> bool:
    """Interrupt the process on this machine that works on a job of the local team.

    Only a process of this user is, and only while it is the one that holds the job.
    """
    home = services.config.home
    if services.config.database is not None or job.team != LOCAL_TEAM:
        return False
    pid = job_holder(home, job.id)
    if pid is None or pid == os.getpid():
        return False
    with contextlib.suppress(OSError):
        if not hasattr(os, "pidfd_open"):
            os.kill(pid, signal.SIGINT)
            return True
        # Held open, the number cannot come to mean another process.
        process = os.pidfd_open(pid)
        try:
            is_ours = Path(f"/proc/{pid}").stat().st_uid == os.getuid()
            if is_ours and job_holder(home, job.id) == pid:
                signal.pidfd_send_signal(process, signal.SIGINT)
                return True
        finally:
            os.close(process)
    logger.warning("job %s is worked on by process %d, which cannot be interrupted", job.id, pid)
    return False


def is_told(services: Services, intake: Intake, team: str, job_id: str) -> bool:
    """Tell whether somebody reports of a job, and so hears which of its runs are to end."""
    if intake.known.has_heard(team, job_id) or not job_id:
        return True
    return services.store.find_job(job_id, team=team).heard_at is not None


def jobs_of_person(services: Services, caller: Caller) -> Iterator[JobRecord]:
    """Yield the jobs that are worked on and were begun with a key of the caller's person.

    On an embedded platform, jobs recorded beside it are its owner's.
    """
    with services.database.reading() as connection:
        keys = set(
            connection.execute(
                select(tables.api_keys.c.id).where(
                    tables.api_keys.c.team == caller.team,
                    tables.api_keys.c.user_id == caller.user_id,
                )
            ).scalars()
        )
    is_owner = caller.user_id == services.owner_id
    before: JobRecord | None = None
    running = JobFilter(status="running")
    while page := services.store.list_jobs(
        running, limit=_JOBS_TOGETHER, before=before, team=caller.team
    ):
        for summary in page:
            before = summary.job
            is_local = before.heard_at is None and is_owner
            if before.key_id in keys or is_local:
                yield before
        if len(page) < _JOBS_TOGETHER:
            return
