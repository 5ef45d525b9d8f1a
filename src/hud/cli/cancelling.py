"""What `hud cancel` does: a signal to a process of this machine, or a word to the platform."""

from __future__ import annotations

import os
import signal
from typing import Any

from hud._core.errors import InputError, NotFound, bounded
from hud._core.paths import hud_home
from hud.api import calls
from hud.api.client import BlockingPlatformClient
from hud.api.place import PlatformPlace, configured_place
from hud.cli import streams
from hud.cli.asking import confirm
from hud.cli.recorded import recorded_store
from hud.cli.render import count
from hud.store import JobRecord, RunRecord, Store, job_holder

_LOOKED_THROUGH = 1_000


def cancel(
    job: str | None,
    run: str | None,
    *,
    all_jobs: bool,
    platform: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Cancel a job, a run, or everything.

    Raises:
        InputError: when there is nothing to cancel.
        PlatformError: when the platform cannot be asked.
    """
    if (job is not None) + (run is not None) + all_jobs != 1:
        raise InputError("say what to cancel: a job, --trace-id RUN, or --all")
    place = configured_place()
    if platform and place is None:
        raise InputError("no platform is configured", hint="set HUD_API_URL and HUD_API_KEY")
    store = recorded_store()
    try:
        if job is not None:
            data = _job(job, None if platform else store, place, yes=yes, dry_run=dry_run)
        elif run is not None:
            data = _run(run, store, place, yes=yes, dry_run=dry_run)
        else:
            data = _all(None if platform else store, place, yes=yes, dry_run=dry_run)
    finally:
        if store is not None:
            store.close()
    if as_json:
        streams.write_json({"dry_run": dry_run, **data})


def _job(
    text: str, store: Store | None, place: PlatformPlace | None, *, yes: bool, dry_run: bool
) -> dict[str, Any]:
    found = _found_job(store, text)
    if found is not None:
        pid = job_holder(hud_home(create=False), found.id)
        if pid is not None:
            _ask(f"cancel job {found.id}, which process {pid} runs?", yes=yes or dry_run)
            if not dry_run:
                _signal(pid, found.id)
            _say(f"process {pid} is told to end job {found.id}", dry_run=dry_run)
            return {"jobs": [{"id": found.id, "pid": pid}]}
    if place is None:
        if found is not None:
            raise InputError(f"job {found.id} is not running: it is {found.status}")
        raise InputError(
            f"there is no job {bounded(text)} here",
            hint="`hud jobs` lists jobs; one on a platform needs HUD_API_URL and HUD_API_KEY",
        )
    job_id = found.id if found is not None else text
    _ask(f"cancel job {job_id} at {place.shown}?", yes=yes or dry_run)
    cancelled = 0
    if not dry_run:
        with BlockingPlatformClient(place) as client:
            cancelled = client.send(calls.cancel_job(job_id)).cancelled
    told = count(cancelled, "run") if not dry_run else "the runs"
    _say(f"{told} of job {job_id} cancelled at {place.shown}", dry_run=dry_run)
    return {"jobs": [{"id": job_id, "cancelled": cancelled}], "platform": place.shown}


def _run(
    text: str, store: Store | None, place: PlatformPlace | None, *, yes: bool, dry_run: bool
) -> dict[str, Any]:
    found = _found_run(store, text)
    if place is None:
        hint = f"hud cancel {found.job_id} ends its whole job" if found is not None else None
        raise InputError("one run is cancelled through a platform, and none is set", hint=hint)
    run_id = found.id if found is not None else text
    _ask(f"cancel run {run_id} at {place.shown}?", yes=yes or dry_run)
    status: str | None = None
    if not dry_run:
        with BlockingPlatformClient(place) as client:
            job_id = found.job_id if found is not None else None
            status = client.send(calls.cancel_run(run_id, job_id)).status
    accepted = dry_run or status == "accepted"
    what = "cancelled" if accepted else f"not cancelled ({bounded(status or 'nothing to do')})"
    _say(f"run {run_id} {what} at {place.shown}", dry_run=dry_run)
    return {"runs": [{"id": run_id, "status": status}], "platform": place.shown}


def _all(
    store: Store | None, place: PlatformPlace | None, *, yes: bool, dry_run: bool
) -> dict[str, Any]:
    running = _running(store)
    where = f" and every job at {place.shown}" if place is not None else ""
    _ask(f"cancel {count(len(running), 'job')} running here{where}?", yes=yes or dry_run)
    data: dict[str, Any] = {"jobs": [{"id": job_id, "pid": pid} for job_id, pid in running]}
    for job_id, pid in running:
        if not dry_run:
            _signal(pid, job_id)
        _say(f"process {pid} is told to end job {job_id}", dry_run=dry_run)
    if place is not None:
        jobs = runs = 0
        if not dry_run:
            with BlockingPlatformClient(place) as client:
                reply = client.send(calls.cancel_all())
            jobs, runs = reply.jobs_cancelled, reply.total_tasks_cancelled
        told = f"{count(runs, 'run')} of {count(jobs, 'job')}" if not dry_run else "all jobs"
        _say(f"{told} cancelled at {place.shown}", dry_run=dry_run)
        data |= {"platform": place.shown, "jobs_cancelled": jobs, "runs_cancelled": runs}
    elif not running:
        streams.note("nothing is running here")
    return data


def _found_job(store: Store | None, text: str) -> JobRecord | None:
    if store is None:
        return None
    try:
        return store.find_job(text)
    except NotFound:
        return None


def _found_run(store: Store | None, text: str) -> RunRecord | None:
    if store is None:
        return None
    try:
        return store.find_run(text)
    except NotFound:
        return None


def _running(store: Store | None) -> list[tuple[str, int]]:
    """Return the jobs that processes of this machine work on, with those processes."""
    if store is None:
        return []
    home = hud_home(create=False)
    found: list[tuple[str, int]] = []
    for summary in store.list_jobs(limit=_LOOKED_THROUGH):
        pid = job_holder(home, summary.job.id)
        if pid is not None:
            found.append((summary.job.id, pid))
    return found


def _signal(pid: int, job_id: str) -> None:
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        streams.note(f"process {pid}, which ran job {job_id}, has just ended")
    except PermissionError as error:
        raise InputError(f"process {pid}, which runs job {job_id}, is another user's") from error


def _ask(question: str, *, yes: bool) -> None:
    if not yes:
        confirm(question, otherwise="nothing was cancelled")


def _say(text: str, *, dry_run: bool) -> None:
    streams.note(f"{text} (--dry-run: it is not)" if dry_run else text)
