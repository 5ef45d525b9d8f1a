"""Which jobs and runs somebody asked to end: told to their reporters with the next answer.

Kept in the database, so that every server tells; read at most once a second, when somebody
reports.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import insert, select
from starlette.concurrency import run_in_threadpool

from hud._core.errors import StoreError
from hud.platform.database import Database, now_us
from hud.store.schema import metadata

logger = logging.getLogger(__name__)

WHOLE_JOB = ""
_table = metadata.tables["cancellations"]
_FRESH_S = 1.0
_REMEMBERED_US = 24 * 3600 * 1_000_000
_RUNS_TOLD = 1_000
# Commits of other servers may come later than the moment they name.
_OVERLAP_US = 30 * 1_000_000
LIFTED_AFTER_US = 5 * 1_000_000
"""A job that is entered this long after it was cancelled begins anew."""


@dataclass(slots=True)
class Asked:
    """What is to end of a job: the whole of it, or some of its runs."""

    whole_job: bool = False
    runs: list[str] = field(default_factory=list[str])


class Cancellations:
    """The cancellations of the last day. For one event loop; `add` blocks and is for threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, str], dict[str, int]] = {}
        self._read_until = 0
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def asked(self, team: str, job_id: str) -> Asked:
        """Return what of a job is to end."""
        if not job_id:
            return Asked()
        if time.monotonic() - self._read_at > _FRESH_S:
            async with self._reading:
                if time.monotonic() - self._read_at > _FRESH_S:
                    await self._refresh()
        found = self._known.get((team, job_id), {})
        runs = [run_id for run_id in found if run_id != WHOLE_JOB]
        return Asked(WHOLE_JOB in found, runs[-_RUNS_TOLD:])

    def add(self, team: str, job_id: str, runs: Iterable[str], actor: str) -> None:
        """Keep that a job (`WHOLE_JOB`) or some of its runs are to end.

        Raises:
            StoreError: when the database cannot be written.
        """
        now = now_us()
        wanted = list(runs)
        with self._database.writing() as connection:
            known = set(
                connection.execute(
                    select(_table.c.run_id).where(_table.c.team == team, _table.c.job_id == job_id)
                ).scalars()
            )
            rows = [
                {"team": team, "job_id": job_id, "run_id": run_id, "actor": actor, "at": now}
                for run_id in wanted
                if run_id not in known
            ]
            if rows:
                connection.execute(insert(_table), rows)
        self._read_at = 0.0

    async def lift(self, team: str, job_id: str) -> None:
        """Forget that a job was to end, if that was a while ago: somebody works on it anew."""
        await self.asked(team, job_id)
        found = self._known.get((team, job_id), {})
        at = found.get(WHOLE_JOB)
        if at is None or now_us() - at < LIFTED_AFTER_US:
            return
        del found[WHOLE_JOB]
        await run_in_threadpool(self._delete, team, job_id)

    def _delete(self, team: str, job_id: str) -> None:
        with self._database.writing() as connection:
            connection.execute(
                _table.delete().where(
                    _table.c.team == team,
                    _table.c.job_id == job_id,
                    _table.c.run_id == WHOLE_JOB,
                )
            )

    async def _refresh(self) -> None:
        try:
            rows = await run_in_threadpool(self._read)
        except StoreError as error:  # a report is taken in all the same
            logger.warning("cancellations cannot be read: %s", error)
            rows = []
        for team, job_id, run_id, at in rows:
            self._known.setdefault((team, job_id), {})[run_id] = at
        oldest = now_us() - _REMEMBERED_US
        for key, runs in list(self._known.items()):
            if max(runs.values(), default=0) < oldest:
                del self._known[key]
        self._read_at = time.monotonic()

    def _read(self) -> list[tuple[str, str, str, int]]:
        now = now_us()
        since = max(now - _REMEMBERED_US, self._read_until - _OVERLAP_US)
        with self._database.reading() as connection:
            rows = connection.execute(
                select(_table.c.team, _table.c.job_id, _table.c.run_id, _table.c.at).where(
                    _table.c.at >= since
                )
            ).all()
        self._read_until = now
        return [(row.team, row.job_id, row.run_id, row.at) for row in rows]
