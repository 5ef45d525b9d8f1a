"""What a store is: rows in, records out. Every implementation passes `hud.testing.check_store`.

Implementations differ in where they keep things, not in what these methods mean.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from hud.store.changes import Change
from hud.store.filters import EVERY_JOB, EVERY_RUN, JobFilter, RunFilter
from hud.store.records import (
    Attempt,
    DebugSpanRecord,
    JobRecord,
    JobSummary,
    RunRecord,
    StepRecord,
)
from hud.store.rows import LOCAL_TEAM, Row


class Store(Protocol):
    """Keeps jobs, runs, steps and blobs, each keyed by (team, id).

    Writing never blocks on the disk; reading does, so an event loop reads in a thread. Ids are
    given whole or as a prefix, dashed or plain, in either case. Every method may be called from
    any thread. Whatever the storage does wrong is raised as `StoreError`.
    """

    def put(self, row: Row) -> None:
        """Queue `row`; it is durable once a later `committed` or `flush` returned.

        Everything put before a `RunEnd` is durable no later than the `RunEnd` itself. Secrets
        are removed on the way. Blocks only when more than the byte budget is queued.
        """
        ...

    async def committed(self) -> None:
        """Return once everything put before this call is durable; a failure is raised here.

        Rows that could not be written are kept and tried again by the next call.
        """
        ...

    def flush(self, timeout: float | None = None) -> None:
        """Do as `committed`, blocking, for at most `timeout` seconds."""
        ...

    def close(self) -> None:
        """Make everything durable, then let go of all resources; safe to call twice."""
        ...

    def watch(
        self, *, team: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Listen to what changes, of one team or all, for as long as the block runs.

        The first thing that is heard is that anything may have changed. What others commit is
        heard too: of this process at once, of others within a second. The iteration ends when the
        store is closed. May be asked for on any event loop.
        """
        ...

    def lock_job(self, job_id: str) -> AbstractContextManager[None]:
        """Hold a job while the block runs; it counts as interrupted when nobody holds it.

        Raises:
            InputError: when somebody holds it already.
        """
        ...

    def find_job(self, job_id: str, *, team: str = LOCAL_TEAM) -> JobRecord:
        """Return the job whose id is or starts with `job_id`.

        Raises:
            InputError: when there is none, or more than one.
        """
        ...

    def list_jobs(
        self,
        filters: JobFilter = EVERY_JOB,
        *,
        limit: int = 20,
        before: JobRecord | None = None,
        team: str = LOCAL_TEAM,
    ) -> list[JobSummary]:
        """Return up to `limit` jobs with their counts, newest first; the page after `before`."""
        ...

    def summarise(self, job: JobRecord) -> JobSummary:
        """Return `job` with its counts."""
        ...

    def runs_of(
        self,
        job_id: str,
        *,
        after: RunRecord | None = None,
        limit: int = 1000,
        team: str = LOCAL_TEAM,
    ) -> list[RunRecord]:
        """Return up to `limit` runs of the job by task, member and attempt; the page after `after`.

        `job_id` is a whole id.
        """
        ...

    def latest_attempts(self, job_id: str, *, team: str = LOCAL_TEAM) -> list[Attempt]:
        """Return the latest attempt at every member of every task of the job, in that order."""
        ...

    def list_runs(
        self,
        filters: RunFilter = EVERY_RUN,
        *,
        limit: int = 100,
        before: RunRecord | None = None,
        team: str = LOCAL_TEAM,
    ) -> list[RunRecord]:
        """Return up to `limit` runs of the team, newest first; the page after `before`."""
        ...

    def find_run(self, run_id: str, *, team: str = LOCAL_TEAM) -> RunRecord:
        """Return the run whose id is or starts with `run_id`.

        Raises:
            InputError: when there is none, or more than one.
        """
        ...

    def mark_invalid(
        self, run_id: str, reason: str | None, *, actor: str, team: str = LOCAL_TEAM
    ) -> RunRecord:
        """Say that a run must not count, and why, or with None that it counts after all.

        Durable when it returns, with an entry in the audit log. The run is still shown.

        Raises:
            InputError: when there is no such run, or more than one.
        """
        ...

    def read_steps(
        self,
        run_id: str,
        *,
        after: int = 0,
        limit: int | None = None,
        resolve: bool = True,
        team: str = LOCAL_TEAM,
    ) -> Iterator[StepRecord]:
        """Yield the steps of a run with a number above `after`, in order.

        With `resolve`, what was moved to blobs is back in its place; without, the references
        `{"$blob": sha256, "size_bytes": n, "media_type": …}` stand. `run_id` is a whole id.
        """
        ...

    def read_debug_spans(
        self,
        run_id: str,
        *,
        after: str = "",
        limit: int = 500,
        team: str = LOCAL_TEAM,
    ) -> list[DebugSpanRecord]:
        """Return up to `limit` spans of a run that are no steps, by span id above `after`.

        `run_id` is a whole id.
        """
        ...

    def read_blob(self, sha256: str, *, team: str = LOCAL_TEAM) -> bytes:
        """Return the content of one of the team's blobs.

        Raises:
            InputError: when the team has no such blob.
        """
        ...


def every_run(store: Store, job_id: str, *, team: str = LOCAL_TEAM) -> Iterator[RunRecord]:
    """Yield all runs of a job by task, member and attempt, a page at a time."""
    last: RunRecord | None = None
    while page := store.runs_of(job_id, after=last, team=team):
        yield from page
        last = page[-1]
