"""Which job a run belongs to, for calls that say which run they are of."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from sqlalchemy import select

from hud.platform.database import Database
from hud.platform.gateway.tables import runs

_REMEMBERED = 50_000


class RunJobs:
    """Remembers what it found; a run that is not reported yet is looked up again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def job_of(self, team: str, run_id: str) -> str | None:
        """Return the id of the job, None where no such run is known."""
        known = self._jobs.get((team, run_id))
        if known is not None:
            return known
        found = await asyncio.to_thread(self._find, team, run_id)
        if found is not None:
            self._jobs[team, run_id] = found
            if len(self._jobs) > _REMEMBERED:
                self._jobs.popitem(last=False)
        return found

    def _find(self, team: str, run_id: str) -> str | None:
        with self._database.reading() as connection:
            return connection.execute(
                select(runs.c.job_id).where(runs.c.team == team, runs.c.id == run_id)
            ).scalar()
