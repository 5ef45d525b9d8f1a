"""The contract of `hud.store.Store.watch`: every commit is heard of, by whoever made it.

A part of `check_store`, which runs these rules like its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.store import ANYTHING, Change, JobHeard, JobRow, RunEnd, RunStart, StepRow, Store

StoreFactory = Callable[[], Store]

_WITHIN_S = 30.0


def _expect(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(rule)


async def _heard(changes: AsyncIterator[Change], wanted: Change) -> list[Change]:
    """Return what is heard up to `wanted`, or to that anything may have changed."""
    heard: list[Change] = []
    async with asyncio.timeout(_WITHIN_S):
        async for change in changes:
            heard.append(change)
            if change in (wanted, ANYTHING):
                return heard
    raise AssertionError(f"{wanted} is not heard")


async def a_commit_of_this_process_is_heard_of_exactly(open_again: StoreFactory, team: str) -> None:
    """A listener is told which job, run or steps changed."""
    store = open_again()
    job = JobRow(id=new_id(), created_at=1, name="job", heard_at=1, team=team)
    run = RunStart(id=new_id(), job_id=job.id, task_slug="t", started_at=1, team=team)
    end = RunEnd(id=run.id, job_id="", status="error", outcome=Outcome.MODEL, ended_at=2, team=team)
    async with store.watch(team=team) as changes, store.watch(team=f"{team}-other") as others:
        _expect(await anext(changes) == ANYTHING, "listening begins with that all may have changed")
        _expect(await anext(others) == ANYTHING, "for everybody")
        steps = StepRow(run_id=run.id, seq=1, payload=b"{}", team=team)
        for rows, wanted in (
            ([job], Change(team, job.id)),
            ([run], Change(team, job.id, run.id)),
            ([steps], Change(team, None, run.id)),
            ([end], Change(team, job.id, run.id)),
            ([JobHeard(id=job.id, heard_at=3, team=team)], Change(team, job.id)),
        ):
            for row in rows:
                store.put(row)
            await store.committed()
            _expect(bool(await _heard(changes, wanted)), "a commit is heard of")
        store.put(JobRow(id=new_id(), created_at=1, team=f"{team}-other"))
        await store.committed()
        async with asyncio.timeout(_WITHIN_S):
            heard = await anext(others)
        _expect(heard.team in (None, f"{team}-other"), "a team hears of its own changes only")
    store.close()


async def listening_ends_with_the_store(open_again: StoreFactory, team: str) -> None:
    """Whoever still listens when the store is closed is told that it is over."""
    store = open_again()
    async with store.watch(team=team) as changes:
        _expect(await anext(changes) == ANYTHING, "listening begins with that all may have changed")
        store.close()
        async with asyncio.timeout(_WITHIN_S):
            left = [change async for change in changes]
    _expect(all(change.team in (None, team) for change in left), "listening ends with the store")


RULES = (a_commit_of_this_process_is_heard_of_exactly, listening_ends_with_the_store)
