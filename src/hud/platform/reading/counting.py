"""Keeping the counts of reported jobs that came to rest: nobody says that such a job has ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from hud._core.errors import StoreError
from hud.platform.database import now_us
from hud.store import JobCount, JobSummary, Store

# By then, what was on its way when it was heard of last has come.
_AT_REST_US = 30_000_000


def keep_counts(store: Store, summaries: Iterable[JobSummary]) -> None:
    """Let the store keep what had to be counted, where it is not about to change."""
    limit = now_us() - _AT_REST_US
    for summary in summaries:
        job = summary.job
        is_at_rest = job.heard_at is not None and job.heard_at < limit
        if is_at_rest and job.status != "running" and not summary.is_kept:
            with contextlib.suppress(StoreError):  # whoever looks next counts again
                store.put(JobCount(id=job.id, team=job.team))
