"""Sending recorded jobs to a platform because somebody asked: `hud push`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hud.eval.reporting.sent import Sent, SentLog
from hud.store import JobRecord, RunRecord, Store, every_run

if TYPE_CHECKING:
    from hud.api.place import PlatformPlace
    from hud.eval.reporting.delivery import Delivery

AT_ONCE = 8


@dataclass(slots=True)
class Pushed:
    """What was sent of one job.

    Attributes:
        runs: Runs the job has.
        sent_runs: Those of which something was sent.
        steps: Steps that were sent.
        left_out: Steps that the platform does not take.
        refused: Runs that it does not take, with what it said.
    """

    job: JobRecord
    runs: int = 0
    sent_runs: int = 0
    steps: int = 0
    left_out: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class Push:
    """Jobs on their way from a store to a platform. Safe to repeat: what arrived is not sent again.

    Args:
        again: Send also what has arrived already; the platform knows it by its ids.
    """

    def __init__(
        self, place: PlatformPlace, home: Path, store: Store, *, again: bool = False
    ) -> None:
        self._place = place
        self._store = store
        self._log = SentLog(home, place.identity, place.api_url.lower())
        self._again = again

    def close(self) -> None:
        """Let go of the file of what was sent."""
        self._log.close()

    def unsent_jobs(self) -> list[str]:
        """Return the ids of the jobs that were to be reported there and did not arrive whole."""
        return self._log.open_jobs(any_key=True)

    def missing(self, job: JobRecord) -> list[str]:
        """Return the runs of a job of which something has not arrived, or may not have."""
        return [run.id for page in self._pages(job) for run in page]

    async def send(
        self, jobs: Sequence[JobRecord], on_run: Callable[[int], None] = lambda steps: None
    ) -> list[Pushed]:
        """Send what is missing of `jobs`, in order.

        Args:
            on_run: Told after each run how many of its steps were sent.

        Raises:
            PlatformError: when the platform cannot be asked, or takes nothing; what was sent by
                then stays sent.
            StoreError: when the store cannot be read.
        """
        from hud.api.client import PlatformClient
        from hud.eval.reporting.delivery import Delivery

        async with PlatformClient(self._place, connections=AT_ONCE) as client:
            delivery = Delivery(client, self._store, self._log, lambda job_id, heard: None)
            return [await self._send_job(delivery, job, on_run) for job in jobs]

    async def _send_job(
        self, delivery: Delivery, job: JobRecord, on_run: Callable[[int], None]
    ) -> Pushed:
        pushed = Pushed(job)
        self._log.begin_job(job.id)
        before = delivery.left_out
        await delivery.job(job.id)
        for page in self._pages(job):
            if self._again:
                self._log.forget_runs([run.id for run in page])
            queue = list(reversed(page))

            async def work(queue: list[RunRecord] = queue) -> None:
                while queue:
                    await self._send_run(delivery, queue.pop(), pushed, on_run)

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(AT_ONCE, len(queue))):
                        group.create_task(work())
            except* Exception as failures:
                raise _first(failures) from None
        pushed.left_out = delivery.left_out - before
        pushed.runs = sum(1 for _ in every_run(self._store, job.id, team=job.team))
        if not pushed.refused:
            self._log.end_job(job.id)
        return pushed

    async def _send_run(
        self,
        delivery: Delivery,
        run: RunRecord,
        pushed: Pushed,
        on_run: Callable[[int], None],
    ) -> None:
        from hud.api.errors import PlatformRefused

        before = Sent() if self._again else self._log.run(run.id)
        try:
            sent, _ = await delivery.run(run.id)
        except PlatformRefused as error:
            pushed.refused.append((run.id, error.message))
            on_run(0)
            return
        steps = sent.seq - before.seq
        pushed.steps += steps
        pushed.sent_runs += sent != before
        on_run(steps)

    def _pages(self, job: JobRecord) -> Iterator[list[RunRecord]]:
        """Yield the runs of a job that may miss something, some at a time."""
        page: list[RunRecord] = []
        for run in every_run(self._store, job.id, team=job.team):
            page.append(run)
            if len(page) >= 500:
                yield self._open(page)
                page = []
        if page:
            yield self._open(page)

    def _open(self, page: list[RunRecord]) -> list[RunRecord]:
        if self._again:
            return page
        arrived = self._log.ended([run.id for run in page])
        return [run for run in page if run.id not in arrived]


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    return group
