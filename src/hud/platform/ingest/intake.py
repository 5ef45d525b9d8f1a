"""Where reports come in: each is made durable before it is answered.

The answer tells the reporter what somebody asked to end meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from hud._core.errors import InputError
from hud.platform.database import Database, now_us
from hud.platform.identity import Caller
from hud.platform.ingest import reports, spans
from hud.platform.ingest.bodies import Bodies, Gate
from hud.platform.ingest.cancellations import Cancellations
from hud.platform.ingest.known import KnownRuns
from hud.platform.ingest.verdict import judge
from hud.store import JobHeard, Row, Store
from hud.store.schema import metadata

_MIB = 1024 * 1024
# What waits to be written at a time: below the budget at which the store makes its callers wait.
_WRITTEN_TOGETHER_BYTES = 48 * _MIB
# A larger upload is taken apart beside the event loop.
_QUICK_BYTES = _MIB
_REASONS_AT_MOST = 100


class Answer(msgspec.Struct, kw_only=True):
    """What a reporter is told.

    Attributes:
        id: What was reported, in the spelling that is stored.
        cancel: Runs of the same job that somebody asked to end.
        cancel_job: Whether all of the job is to end.
    """

    id: str
    cancel: list[str] = msgspec.field(default_factory=list[str])
    cancel_job: bool = False


class UploadAnswer(Answer, kw_only=True):
    """What became of the spans of an upload; `rejected` has the first 100 reasons."""

    accepted: int
    rejected_count: int = 0
    rejected: list[spans.Rejected] = msgspec.field(default_factory=list[spans.Rejected])


class Intake:
    """Takes reports in. For one event loop; what it is given stays its owner's to close.

    Attributes:
        bodies: Reads request bodies within what memory holds.
    """

    def __init__(self, store: Store, database: Database) -> None:
        self._store = store
        self._database = database
        self.bodies = Bodies()
        self.known = KnownRuns()
        self.cancellations = Cancellations(database)
        self._gate = Gate(_WRITTEN_TOGETHER_BYTES)

    async def job_entered(self, caller: Caller, job_id: str, report: dict[str, Any]) -> Answer:
        """Keep that a job began, or goes on.

        Raises:
            StoreError: when it cannot be kept.
        """
        taskset_id = reports.stored_id(report.get("taskset_id"))
        taskset = None
        if taskset_id is not None:
            taskset = await run_in_threadpool(self._taskset_name, caller.team, taskset_id)
        self._store.put(reports.job_row(caller, job_id, report, taskset))
        self.known.is_due(caller.team, job_id)
        await self.cancellations.lift(caller.team, job_id)
        await self._store.committed()
        return await self._answer(caller.team, job_id, job_id)

    async def run_entered(self, caller: Caller, run_id: str, report: dict[str, Any]) -> Answer:
        """Keep that a run began.

        Raises:
            StoreError: when it cannot be kept.
        """
        start = reports.run_start(caller, run_id, report)
        rows: list[Row] = [start]
        if start.job_id:
            self.known.is_due(caller.team, start.job_id)
            rows.insert(0, reports.job_heard_of(caller, start.job_id))
        await self._keep(rows)
        if start.job_id:
            self.known.note(caller.team, run_id, start.job_id)
        return await self._answer(caller.team, start.job_id, run_id)

    async def run_exited(self, caller: Caller, run_id: str, report: dict[str, Any]) -> Answer:
        """Keep how a run ended.

        Raises:
            StoreError: when it cannot be kept.
        """
        end = reports.run_end(caller, run_id, report, judge(report))
        rows: list[Row] = [reports.placeholder(caller.team, run_id, end.ended_at), end]
        if end.job_id:
            report = {"started_at": end.ended_at, **report}
            rows[0] = reports.run_start(caller, run_id, report)
            rows.insert(0, reports.job_heard_of(caller, end.job_id))
        await self._keep(rows)
        job_id = end.job_id or await self._job_of(caller.team, run_id)
        return await self._answer(caller.team, job_id, run_id)

    async def spans_uploaded(self, caller: Caller, run_id: str, content: bytes) -> UploadAnswer:
        """Keep the spans of a run that make sense, and say which do not.

        Raises:
            ApiError: with status 400, when it is no upload of spans.
            StoreError: when they cannot be kept.
        """
        team = caller.team
        if len(content) > _QUICK_BYTES:
            batch = await run_in_threadpool(_read, content, team, run_id)
        else:
            batch = _read(content, team, run_id)
        job_id = self.known.job_of(team, run_id)
        rows: list[Row] = []
        if job_id is None and batch.rows:
            rows.append(reports.placeholder(team, run_id, batch.started_at))
        rows += batch.rows
        if job_id and self.known.is_due(team, job_id):
            rows.append(JobHeard(id=job_id, heard_at=now_us(), team=team))
        async with self._gate.hold(len(content)):
            if len(content) > _QUICK_BYTES:
                await run_in_threadpool(self._put, rows)
            else:
                self._put(rows)
            await self._store.committed()
        if job_id is None:
            job_id = await self._job_of(team, run_id)
        answer = await self._answer(team, job_id, run_id)
        return UploadAnswer(
            id=run_id,
            cancel=answer.cancel,
            cancel_job=answer.cancel_job,
            accepted=len(batch.rows),
            rejected_count=len(batch.rejected),
            rejected=batch.rejected[:_REASONS_AT_MOST],
        )

    async def _keep(self, rows: Sequence[Row]) -> None:
        self._put(rows)
        await self._store.committed()

    def _put(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._store.put(row)

    async def _answer(self, team: str, job_id: str, subject: str) -> Answer:
        asked = await self.cancellations.asked(team, job_id)
        return Answer(id=subject, cancel=asked.runs, cancel_job=asked.whole_job)

    async def _job_of(self, team: str, run_id: str) -> str:
        known = self.known.job_of(team, run_id)
        if known is not None:
            return known
        try:
            run = await run_in_threadpool(self._store.find_run, run_id, team=team)
        except InputError:
            return ""
        self.known.note(team, run_id, run.job_id)
        return run.job_id

    def _taskset_name(self, team: str, taskset_id: str) -> str | None:
        tasksets = metadata.tables["tasksets"]
        with self._database.reading() as connection:
            return connection.execute(
                select(tasksets.c.name).where(tasksets.c.team == team, tasksets.c.id == taskset_id)
            ).scalar()


def _read(content: bytes, team: str, run_id: str) -> spans.Batch:
    return spans.read(spans.split(content), team=team, run_id=run_id)
