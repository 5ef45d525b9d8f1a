"""Counts of jobs that nobody ends: kept on the job until one of its runs changes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.store import JobRow, RunEnd, RunStart, open_store
from hud.store.recent_counts import RecentCounts
from hud.store.records import JobCounts

JOB = "0c" * 16


def _kept(home: Path) -> str | None:
    with closing(sqlite3.connect(home / "hud.db")) as connection:
        [(summary,)] = connection.execute("SELECT summary FROM jobs")
        return summary


async def test_a_listed_job_that_is_over_is_counted_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    runs = [RunStart(id=new_id(), job_id=JOB, task_slug=t, started_at=1) for t in ("a", "b")]

    def end(run: RunStart, reward: float) -> RunEnd:
        return RunEnd(
            id=run.id,
            job_id="",
            status="completed",
            outcome=Outcome.GRADED,
            reward=reward,
            ended_at=2,
        )

    for row in (JobRow(id=JOB, created_at=1, heard_at=1), runs[0], end(runs[0], 1.0)):
        store.put(row)
    await store.committed()
    assert store.list_jobs()[0].counts.graded == 1
    await store.committed()
    assert _kept(tmp_path) is not None
    store.put(runs[1])
    store.put(end(runs[1], 0.0))
    await store.committed()
    assert _kept(tmp_path) is None
    for _ in range(2):
        counts = store.list_jobs()[0].counts
        assert (counts.graded, counts.mean_reward) == (2, 0.5)
        await store.committed()
    store.close()


def test_only_counts_that_took_long_are_shown_again() -> None:
    recent = RecentCounts()
    small = JobCounts(runs=9, attempts=9, graded=9, running=0, ungraded={}, mean_reward=1.0)
    large = JobCounts(runs=10**9, attempts=10**9, graded=1, running=0, ungraded={}, mean_reward=1.0)
    recent.keep("team", "small", small)
    recent.keep("team", "large", large)
    assert recent.find("team", "small") is None
    assert recent.find("team", "large") is large
    assert recent.find("other", "large") is None
