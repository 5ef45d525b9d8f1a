"""What `hud push` does: choose jobs, send them, say what arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hud._core.errors import InputError, NotFound
from hud._core.paths import hud_home
from hud.api.place import PlatformPlace, required_place
from hud.cli import streams
from hud.cli.bar import bar
from hud.cli.boundary import FAILED, GRADED
from hud.cli.recorded import recorded_store
from hud.cli.render import count, one_line
from hud.cli.tables import table
from hud.eval.reporting.pushing import Push, Pushed
from hud.store import JobRecord, Store

_SHOWN = 5


def push(
    names: Sequence[str],
    *,
    all_jobs: bool,
    unsent: bool,
    to: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Send jobs, and return the exit code."""
    if bool(names) + all_jobs + unsent > 1:
        raise InputError("name jobs, or give --all, or --unsent: one of them")
    place = required_place(to)
    home = hud_home(create=False)
    store = recorded_store()
    if store is None:
        raise InputError(f"nothing has been recorded in {home} yet", hint="run hud eval first")
    pushing = Push(place, home, store, again=force)
    try:
        if names:
            jobs = [store.find_job(name) for name in names]
        elif all_jobs:
            jobs = [summary.job for summary in store.list_jobs(limit=1_000_000_000)]
        else:
            jobs = _existing(store, pushing.unsent_jobs())
        missing = {job.id: pushing.missing(job) for job in jobs}
        if dry_run:
            _show_plan(place, jobs, missing, as_json=as_json)
            return GRADED
        total = sum(map(len, missing.values()))
        with bar("sending runs", total) as advance:
            done = asyncio.run(pushing.send(jobs, lambda steps: advance(1)))
    finally:
        pushing.close()
        store.close()
    _show(place, done, as_json=as_json)
    return FAILED if any(one.refused for one in done) else GRADED


def _existing(store: Store, job_ids: Sequence[str]) -> list[JobRecord]:
    jobs: list[JobRecord] = []
    for job_id in job_ids:
        try:
            jobs.append(store.find_job(job_id))
        except NotFound:
            continue
    return sorted(jobs, key=lambda job: job.created_at)


def _show_plan(
    place: PlatformPlace,
    jobs: Sequence[JobRecord],
    missing: dict[str, list[str]],
    *,
    as_json: bool,
) -> None:
    if as_json:
        rows = [{"id": job.id, "name": job.name, "runs": len(missing[job.id])} for job in jobs]
        streams.write_json({"dry_run": True, "platform": place.shown, "jobs": rows})
        return
    total = sum(map(len, missing.values()))
    if jobs:
        cells = [(job.id, job.name, f"{len(missing[job.id]):,}") for job in jobs]
        streams.write(table(("JOB", "NAME", "RUNS TO SEND"), cells, right=(2,)))
    streams.note(
        f"{count(total, 'run')} of {count(len(jobs), 'job')} would go to {place.shown}; "
        "nothing was sent (--dry-run)"
    )


def _show(place: PlatformPlace, done: Sequence[Pushed], *, as_json: bool) -> None:
    if as_json:
        streams.write_json({"platform": place.shown, "jobs": [_data(place, one) for one in done]})
    elif done:
        header = ("JOB", "NAME", "RUNS", "SENT", "STEPS SENT")
        rows = [
            (
                one.job.id,
                one.job.name,
                f"{one.runs:,}",
                f"{one.sent_runs:,}",
                f"{one.steps:,}",
            )
            for one in done
        ]
        streams.write(table(header, rows, right=(2, 3, 4), width=streams.stdout_width(), shrink=1))
    refused = [one for job in done for one in job.refused]
    for run_id, why in refused[:_SHOWN]:
        streams.note(f"run {run_id} was refused: {one_line(why)}")
    if len(refused) > _SHOWN:
        streams.note(f"… and {count(len(refused) - _SHOWN, 'other run')}")
    left_out = sum(one.left_out for one in done)
    if left_out:
        streams.note(f"{count(left_out, 'step')} the platform does not take; -v says which")
    if not done:
        streams.note(f"everything that was to be reported to {place.shown} has arrived")
    elif not as_json:
        streams.note(f"at {place.link('/jobs')}")


def _data(place: PlatformPlace, one: Pushed) -> dict[str, Any]:
    return {
        "id": one.job.id,
        "name": one.job.name,
        "runs": one.runs,
        "sent_runs": one.sent_runs,
        "steps": one.steps,
        "left_out": one.left_out,
        "refused": [{"id": run_id, "error": why} for run_id, why in one.refused],
        "link": place.link(f"/jobs/{one.job.id}"),
    }
