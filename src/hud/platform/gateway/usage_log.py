"""What every call took, written into the database in batches, away from the calls.

A row waits a fraction of a second at most. Rows that cannot be written stay and are tried again;
what is left at the end is written before the server lets go of the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select

from hud._core.errors import StoreError
from hud._core.ids import new_id
from hud.platform.database import Database
from hud.platform.gateway.tables import runs, usage
from hud.platform.gateway.used import Used

logger = logging.getLogger(__name__)

LINGER_S = 0.2
_RETRY_S = 1.0
_BATCH = 1_000
_ROWS_AT_MOST = 200_000
_LAST_ATTEMPTS = 3
_LARGEST = 2**62


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One call.

    Attributes:
        at: When it began, in microseconds since the epoch.
        job_id: None where it is not known; looked up by `run_id` when the row is written.
        status: What the client was answered; 499 when it went away before the end.
        used: The tokens; what they cost is worked out when the row is written.
        error: One short sentence without secrets, None when nothing failed.
    """

    team: str
    at: int
    key_id: str | None
    job_id: str | None
    run_id: str | None
    provider: str
    model: str
    dialect: str
    status: int
    used: Used
    is_cached: bool
    duration_ms: int
    error: str | None


class UsageLog:
    """Writes rows while its block is open. Belongs to one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: list[UsageRow] = []
        self._is_wanted = asyncio.Event()
        self._writing = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None
        self._lost = 0

    async def __aenter__(self) -> UsageLog:
        self._loop = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        task, self._loop = self._loop, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for _attempt in range(_LAST_ATTEMPTS):
            with contextlib.suppress(StoreError):
                await self.flush()
                return
        logger.error("%d calls of models could not be written down", len(self._rows))

    def add(self, row: UsageRow) -> None:
        """Take a row; it is written soon."""
        if len(self._rows) >= _ROWS_AT_MOST:
            self._lost += 1
            if self._lost == 1:
                logger.error("the database takes no rows: calls of models are not written down")
            return
        self._rows.append(row)
        self._is_wanted.set()

    async def flush(self) -> None:
        """Write every row that was added before this call.

        Raises:
            StoreError: when they could not be written; they are kept.
        """
        async with self._writing:
            while self._rows:
                batch = self._rows[:_BATCH]
                await asyncio.to_thread(self._write, batch)
                del self._rows[: len(batch)]

    async def _run(self) -> None:
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            await asyncio.sleep(LINGER_S)
            try:
                await asyncio.shield(self.flush())
            except StoreError as error:
                logger.error("calls of models cannot be written down: %s", error)
                self._is_wanted.set()
                await asyncio.sleep(_RETRY_S)

    def _write(self, batch: Sequence[UsageRow]) -> None:
        with self._database.writing() as connection:
            jobs: dict[tuple[str, str], str] = {}
            wanted = {(row.team, row.run_id) for row in batch if row.run_id and not row.job_id}
            for team in {team for team, _ in wanted}:
                ids = [run_id for owner, run_id in wanted if owner == team]
                found = connection.execute(
                    select(runs.c.id, runs.c.job_id).where(runs.c.team == team, runs.c.id.in_(ids))
                )
                jobs |= {(team, run_id): job_id for run_id, job_id in found}
            connection.execute(insert(usage), [_values(row, jobs) for row in batch])


def _values(row: UsageRow, jobs: dict[tuple[str, str], str]) -> dict[str, Any]:
    return {
        "team": row.team,
        "id": new_id(),
        "at": row.at,
        "key_id": row.key_id,
        "job_id": row.job_id or jobs.get((row.team, row.run_id or "")),
        "run_id": row.run_id,
        "provider": row.provider,
        "model": row.model,
        "dialect": row.dialect,
        "status": row.status,
        # A server may claim any number; a column holds those of 64 bits.
        "prompt_tokens": _fitting(row.used.prompt_tokens),
        "completion_tokens": _fitting(row.used.completion_tokens),
        "cached_tokens": _fitting(row.used.cached_tokens),
        "cost_usd": 0.0 if row.is_cached else row.used.cost_usd(),
        "is_cached": int(row.is_cached),
        "duration_ms": min(row.duration_ms, 2**31 - 1),
        "error": row.error,
    }


def _fitting(count: int) -> int:
    return min(max(count, 0), _LARGEST)
