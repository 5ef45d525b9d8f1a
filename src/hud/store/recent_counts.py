"""Counts of large jobs that are going on, reused while counting them again is not worth it.

A job of 200,000 runs takes a fifth of a second to count. A listing that is asked for every second
may be a few seconds old there; what is asked about one job alone never is.
"""

from __future__ import annotations

import threading
import time

from hud.store.records import JobCounts

_LARGE = 10_000
_RUNS_PER_S = 50_000
_AGE_AT_MOST_S = 5.0
_KEPT = 1_000


class RecentCounts:
    """The last counts of large jobs, by team and id. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], tuple[float, JobCounts]] = {}

    def find(self, team: str, job_id: str) -> JobCounts | None:
        """Return counts that may still be shown."""
        with self._lock:
            until, counts = self._counts.get((team, job_id), (0.0, None))
        return counts if time.monotonic() < until else None

    def keep(self, team: str, job_id: str, counts: JobCounts) -> None:
        """Remember `counts` where counting took long."""
        if counts.attempts < _LARGE:
            return
        until = time.monotonic() + min(counts.attempts / _RUNS_PER_S, _AGE_AT_MOST_S)
        with self._lock:
            self._counts.pop((team, job_id), None)
            self._counts[team, job_id] = until, counts
            while len(self._counts) > _KEPT:
                del self._counts[next(iter(self._counts))]
