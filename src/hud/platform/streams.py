"""What live streams say: which jobs changed, which runs of a job, which steps of a run.

Each looks at the store when something was committed, says what is new, and rests for a moment, so
that a storm of commits is one look.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

from sqlalchemy import or_, select
from starlette.concurrency import run_in_threadpool

from hud._core.errors import InputError
from hud.platform.event_stream import HEARTBEAT, HEARTBEAT_S, event, raw
from hud.platform.live import Listener, Live
from hud.platform.reading.shapes import JobItem, RunDetail, RunItem
from hud.platform.reading.steps import step_data
from hud.platform.seen import SeenSteps
from hud.platform.services import Services
from hud.store import JobFilter, JobRecord, RunRecord, StepRecord
from hud.store.schema import runs, steps

_REST_S = 0.1
_LONGEST_REST_S = 2.0
_JOBS_LOOKED_AT = 50
_RUNS_TOLD = 200
# A commit may come a while after the moments that its rows name.
_OVERLAP_US = 30_000_000
_STEPS_TOGETHER = 16

StillAllowed = Callable[[], Awaitable[bool]]
"""Tells whether the caller may still listen."""


async def _rounds(listener: Listener, still_allowed: StillAllowed) -> AsyncGenerator[bool]:
    """Yield True when something was heard, False for a heartbeat, until it is over."""
    while True:
        heard = await listener.wait(HEARTBEAT_S)
        if listener.is_over or (not heard and not await still_allowed()):
            return
        began = time.monotonic()
        yield heard
        took_s = time.monotonic() - began
        await asyncio.sleep(min(max(_REST_S, took_s), _LONGEST_REST_S))


async def follow_jobs(
    services: Services, live: Live, team: str, still_allowed: StillAllowed
) -> AsyncGenerator[bytes]:
    """Yield `ready`, then a `job` for each job of a team that changed; `reset` says to read all."""
    told: dict[str, str] = {}

    def look(job_ids: set[str] | None) -> list[bytes]:
        found: list[bytes] = []
        for item in _jobs(services, team, job_ids):
            text = item.model_dump_json(exclude={"heard_at"})
            if told.get(item.id) != text:
                told[item.id] = text
                found.append(event("job", item.model_dump(mode="json")))
        while len(told) > 10 * _JOBS_LOOKED_AT:
            del told[next(iter(told))]
        return found

    with live.listening(team) as listener:
        await live.ready()
        listener.take()
        await run_in_threadpool(look, None)  # what it is like now is not news
        yield event("ready", {})
        async for heard in _rounds(listener, still_allowed):
            is_vague, missed, job_ids = listener.anything, listener.missed, listener.jobs
            listener.take()
            if missed:
                told.clear()
                yield event("reset", {})
            for wanted in (job_ids, None):
                is_wanted = job_ids if wanted is not None else is_vague or not heard
                for news in await run_in_threadpool(look, wanted) if is_wanted else ():
                    yield news
            if not heard:
                yield HEARTBEAT


def _jobs(services: Services, team: str, job_ids: set[str] | None) -> list[JobItem]:
    """Return the jobs asked for, or without such those in which anything may happen."""
    store = services.store
    if job_ids is not None:
        return [
            JobItem.of(store.summarise(job))
            for job_id in sorted(job_ids)
            if (job := _job(services, team, job_id)) is not None
        ]
    newest = store.list_jobs(limit=_JOBS_LOOKED_AT, team=team)
    running = store.list_jobs(JobFilter(status="running"), limit=_JOBS_LOOKED_AT, team=team)
    return [JobItem.of(one) for one in {one.job.id: one for one in (*newest, *running)}.values()]


def _job(services: Services, team: str, job_id: str) -> JobRecord | None:
    try:
        return services.store.find_job(job_id, team=team)
    except InputError:
        return None


def _run(services: Services, team: str, run_id: str) -> RunRecord | None:
    try:
        return services.store.find_run(run_id, team=team)
    except InputError:
        return None


async def follow_job(
    services: Services, live: Live, job: JobRecord, still_allowed: StillAllowed
) -> AsyncGenerator[bytes]:
    """Yield the `job` and `ready`, then each `run` that changes, and the `job` when its counts do.

    `reset` says to read the runs again: more of them changed than are told one by one.
    """
    told: dict[str, str] = {}
    state = ""

    def told_of(run: RunRecord) -> bytes | None:
        item = RunItem.of(run)
        text = item.model_dump_json()
        if told.get(run.id) == text:
            return None
        told[run.id] = text
        while len(told) > 10 * _RUNS_TOLD:
            del told[next(iter(told))]
        return event("run", item.model_dump(mode="json"))

    def look_at_job() -> bytes | None:
        nonlocal state
        found = _job(services, job.team, job.id)
        if found is None:
            return event("gone", {"id": job.id})
        item = JobItem.of(services.store.summarise(found))
        text = item.model_dump_json(exclude={"heard_at"})
        if text == state:
            return None
        state = text
        return event("job", item.model_dump(mode="json"))

    def look_at_runs(run_ids: set[str]) -> list[bytes]:
        found = (_run(services, job.team, run_id) for run_id in sorted(run_ids))
        events = [told_of(run) for run in found if run is not None]
        return [one for one in events if one is not None]

    with live.listening(job.team, job_id=job.id) as listener:
        await live.ready()
        since = time.time_ns() // 1000
        listener.take()
        first = await run_in_threadpool(look_at_job)
        if first is not None:
            yield first
        yield event("ready", {})
        async for heard in _rounds(listener, still_allowed):
            run_ids, is_vague, missed = listener.runs, listener.anything, listener.missed
            listener.take()
            if is_vague:
                now = time.time_ns() // 1000
                recent = await run_in_threadpool(_changed_since, services, job, since)
                since = now
                missed = missed or len(recent) > _RUNS_TOLD
                run_ids = run_ids | recent
            if missed:
                told.clear()
                yield event("reset", {})
            else:
                for one in await run_in_threadpool(look_at_runs, run_ids):
                    yield one
            changed = await run_in_threadpool(look_at_job)
            if changed is not None:
                yield changed
            if not heard:
                yield HEARTBEAT


def _changed_since(services: Services, job: JobRecord, since: int) -> set[str]:
    """Return the runs of a job that began or ended since; one more than are told at most."""
    limit = since - _OVERLAP_US
    with services.database.reading() as connection:
        found = connection.execute(
            select(runs.c.id)
            .where(
                runs.c.team == job.team,
                runs.c.job_id == job.id,
                or_(runs.c.started_at >= limit, runs.c.ended_at >= limit),
            )
            .limit(_RUNS_TOLD + 1)
        )
        return set(found.scalars())


async def follow_run(
    services: Services, live: Live, run: RunRecord, seen: SeenSteps, still_allowed: StillAllowed
) -> AsyncGenerator[bytes]:
    """Yield a `run` when it changes, and a `step` for each that `seen` has not, also late ones.

    `ready` comes after what there was already. The id of a step's event says which were sent.
    """
    state = ""

    def look_at_run() -> bytes | None:
        nonlocal state
        found = _run(services, run.team, run.id)
        if found is None:
            return event("gone", {"id": run.id})
        text = RunDetail.of(found).model_dump_json()
        if text == state:
            return None
        state = text
        return event("run", text.encode())

    with live.listening(run.team, run_id=run.id) as listener:

        async def look() -> AsyncGenerator[bytes]:
            listener.take()
            changed = await run_in_threadpool(look_at_run)
            if changed is not None:
                yield changed
            numbers = await run_in_threadpool(_unseen, services, run, seen)
            for first, count in _together(numbers):
                if listener.is_over:
                    return
                for step in await run_in_threadpool(_read, services, run, first, count):
                    seen.add(step.seq)
                    data = {**step_data(step), "payload": raw(step.payload)}
                    yield event("step", data, event_id=str(seen))

        await live.ready()
        async with contextlib.aclosing(look()) as news:
            async for one in news:
                yield one
        yield event("ready", {})
        async for heard in _rounds(listener, still_allowed):
            async with contextlib.aclosing(look()) as news:
                async for one in news:
                    yield one
            if not heard:
                yield HEARTBEAT


def _unseen(services: Services, run: RunRecord, seen: SeenSteps) -> list[int]:
    query = select(steps.c.seq).where(
        steps.c.team == run.team, steps.c.run_id == run.id, steps.c.seq > seen.floor
    )
    with services.database.reading() as connection:
        numbers = connection.execute(query.order_by(steps.c.seq)).scalars()
        return [number for number in numbers if number not in seen]


def _together(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first of some consecutive numbers, and how many there are."""
    first = count = 0
    for number in numbers:
        if count and (number != first + count or count == _STEPS_TOGETHER):
            yield first, count
            count = 0
        if not count:
            first = number
        count += 1
    if count:
        yield first, count


def _read(services: Services, run: RunRecord, first: int, count: int) -> list[StepRecord]:
    found = services.store.read_steps(
        run.id, after=first - 1, limit=count, resolve=False, team=run.team
    )
    return [step for step in found if step.seq < first + count]
