"""What `hud eval` does with a job that is ready: run it, and show what came of it.

Running and counting are `hud.eval`; this puts them in order.
"""

from __future__ import annotations

import asyncio
import time

from hud._core.errors import InputError
from hud.agents.base import model_of
from hud.api.place import required_place
from hud.cli import report, streams
from hud.cli.asking import confirm
from hud.cli.boundary import GRADED, INTERRUPTED, UNGRADED
from hud.cli.progress import make_progress, showing
from hud.cli.render import one_line
from hud.cli.request import Ready, Request, prepare
from hud.cli.signals import stopping
from hud.eval.places import check_place
from hud.eval.recording import default_store
from hud.eval.results import read_results
from hud.eval.running import run_taskset
from hud.eval.schedule import Options, Stop
from hud.eval.tally import Tally
from hud.runtimes.hosted import HostedRuntime

_ASK_FROM = 500


def evaluate(request: Request) -> int:
    """Run the job that `request` describes, show its results, and return the exit code."""
    streams.guard_stdout()
    ready = prepare(request)
    if request.dry_run:
        report.dry_run(ready.taskset, ready.spec, left=ready.left, as_json=request.as_json)
        return GRADED
    _ask(ready, request)
    default_store()  # one that cannot be used is said before anything runs
    began = time.monotonic()
    was_stopped = asyncio.run(_run(ready, request.verbose)) if ready.left else False
    return _finish(ready, request, was_stopped=was_stopped, took_s=time.monotonic() - began)


async def _run(ready: Ready, verbose: int) -> bool:
    """Run what is left; return whether somebody stopped it."""
    await check_place(ready.runtime)
    spec, job = ready.spec, ready.job
    tally = Tally(ready.total)
    for run in job.runs:
        tally.ended(run)
    progress = make_progress(tally, verbose=verbose, is_plain=spec.agent == "human")
    options = Options(
        max_concurrent=1 if spec.agent == "human" else spec.max_concurrent,
        retries=spec.retries,
        observer=progress,
        stop=Stop(),
    )
    streams.note(report.heading(ready.taskset, spec, job.id, done=len(job.runs)))
    try:
        with stopping(options.stop, progress.say), showing(progress):
            await run_taskset(
                ready.taskset.name,
                list(ready.taskset),
                ready.agent,
                runtime=ready.runtime,
                group=spec.group,
                job=job,
                rollout_timeout=spec.rollout_timeout,
                options=options,
                budget=spec.budget,
                spec=spec.to_json(),
                graded=ready.resume.graded if ready.resume else (),
                attempts=ready.resume.attempts if ready.resume else None,
            )
    except InputError:
        raise
    except Exception:
        if not isinstance(ready.runtime, HostedRuntime):
            streams.note(f"what was graded is kept: hud eval --resume {job.id}")
        raise
    return options.stop.requests > 0


def _finish(ready: Ready, request: Request, *, was_stopped: bool, took_s: float) -> int:
    if isinstance(ready.runtime, HostedRuntime):
        return _finish_hosted(ready, request, was_stopped=was_stopped, took_s=took_s)
    if not ready.left:
        streams.note(f"every run of job {ready.job.id} is graded already; nothing was run")
    store = default_store()
    results = read_results(store, ready.job.id, owed=ready.owed, ks=sorted({1, ready.spec.group}))
    record = store.find_job(ready.job.id)
    if request.as_json:
        streams.write_json(report.as_data(record, results))
    else:
        took = took_s if ready.left else None
        streams.write(report.as_text(record, results, width=streams.stdout_width(), took_s=took))
    if ready.job.ended_early is not None and not results.is_complete:
        streams.note(f"stopped: {ready.job.ended_early}")
    report.where_to_look(record, results, env_source=request.env_source)
    if was_stopped:
        return INTERRUPTED
    if results.is_complete:
        return GRADED
    return UNGRADED if ready.job.ended_early is None else INTERRUPTED


def _finish_hosted(ready: Ready, request: Request, *, was_stopped: bool, took_s: float) -> int:
    """Show what a platform ran, whose record is there."""
    from hud.eval.hosted_results import job_record, results_of

    job, place = ready.job, required_place()
    results = results_of(job, owed=ready.owed, ks=sorted({1, ready.spec.group}))
    status = "cancelled" if was_stopped or job.ended_early is not None else "completed"
    record = job_record(job, status=status, taskset=ready.taskset.name, agent=ready.agent)
    link = place.link(f"/jobs/{job.id}")
    if request.as_json:
        streams.write_json({**report.as_data(record, results), "url": link})
    else:
        streams.write(report.as_text(record, results, width=streams.stdout_width(), took_s=took_s))
    report.where_to_look(record, results, url=link)
    if was_stopped:
        return INTERRUPTED
    return GRADED if results.is_complete else UNGRADED


def _ask(ready: Ready, request: Request) -> None:
    """Ask before a large run with a model, when somebody is there to answer.

    Raises:
        InputError: when the answer is not yes.
    """
    model = model_of(ready.agent)
    if request.yes or ready.left < _ASK_FROM or model is None:
        return
    question = f"run {ready.left:,} rollouts with {one_line(model)}?"
    confirm(question, otherwise="nothing was run")
