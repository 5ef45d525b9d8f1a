"""A run that waits is in the store as waiting, and begins when its row comes again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hud._core.ids import new_id
from hud.store import JobRow, RunStart, Store, open_store
from hud.store.rows import UNCOUNTED


@dataclass(frozen=True)
class _Waiting:
    store: Store
    run: RunStart


def _waiting(home: Path) -> _Waiting:
    store = open_store(home)
    job = JobRow(id=new_id(), created_at=1, heard_at=1)
    run = RunStart(
        id=new_id(), job_id=job.id, task_slug="a", started_at=5, member=UNCOUNTED, is_pending=True
    )
    store.put(job)
    store.put(run)
    store.flush()
    return _Waiting(store, run)


def test_a_run_that_waits_is_pending_until_it_begins(tmp_path: Path) -> None:
    waiting = _waiting(tmp_path)
    store, run = waiting.store, waiting.run
    assert store.find_run(run.id).status == "pending"
    store.put(RunStart(id=run.id, job_id=run.job_id, task_slug="a", started_at=90, model="m"))
    store.flush()
    begun = store.find_run(run.id)
    assert (begun.status, begun.started_at, begun.member, begun.model) == ("running", 90, 0, "m")
    store.close()


def test_a_run_that_began_does_not_wait_again(tmp_path: Path) -> None:
    waiting = _waiting(tmp_path)
    store, run = waiting.store, waiting.run
    store.put(RunStart(id=run.id, job_id=run.job_id, task_slug="a", started_at=90))
    store.put(run)
    store.flush()
    begun = store.find_run(run.id)
    assert (begun.status, begun.started_at) == ("running", 90)
    store.close()
