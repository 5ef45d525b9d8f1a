"""Pages of runs: what is rare among the newest is found all the same, each run once."""

from __future__ import annotations

from pathlib import Path

import pytest

from hud.store import JobRow, RunFilter, RunRecord, RunStart, Store, open_store


@pytest.mark.parametrize("place", ["embedded", "team"])
def test_a_task_is_found_however_long_ago_it_was_run(
    place: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hud.store.reading._NEAR_RUNS", 10)
    url = request.getfixturevalue("postgres_url") if place == "team" else None
    store = open_store(tmp_path, database=url)
    for job in range(4):
        store.put(JobRow(id=f"{job:032x}", created_at=job))
    for number in range(120):
        slug = "rare" if number in (0, 1, 7, 50, 117) else f"task-{number % 3}"
        store.put(
            RunStart(
                id=f"{number * 7 % 120:032x}",
                job_id=f"{number % 4:032x}",
                task_slug=slug,
                # Every three begin at the same moment.
                started_at=number // 3,
            )
        )
    store.flush()
    for slug in ("rare", "task-1", "never"):
        for limit in (1, 2, 7, 100):
            found = _pages(store, RunFilter(task_slug=slug), limit)
            wanted = [run.id for run in store.list_runs(limit=200) if run.task_slug == slug]
            assert [run.id for run in found] == wanted
    store.close()


def _pages(store: Store, filters: RunFilter, limit: int) -> list[RunRecord]:
    found: list[RunRecord] = []
    last: RunRecord | None = None
    while page := store.list_runs(filters, before=last, limit=limit):
        found += page
        last = page[-1]
    return found
