"""What `hud eval` does: from its arguments to a job, and from the job to what is shown.

Loading, placing, running and counting are `hud.eval`; this puts them in order.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hud._core.errors import InputError
from hud._core.ids import new_id
from hud.agents.base import Agent
from hud.agents.create import AGENT_KINDS, known_agents, make_agent, parse_config
from hud.cli import report, streams
from hud.cli.boundary import GRADED, INTERRUPTED, UNGRADED
from hud.cli.progress import make_progress, showing
from hud.cli.render import count, one_line
from hud.cli.signals import stopping
from hud.eval.job import Job
from hud.eval.places import check_place, environment_source, place_at
from hud.eval.recording import default_store
from hud.eval.results import Results, read_results
from hud.eval.running import run_taskset
from hud.eval.schedule import Options, Stop
from hud.eval.selection import select
from hud.eval.tally import Tally
from hud.eval.taskset import Taskset
from hud.runtimes.base import Provider

DEFAULT_CONCURRENT, DEFAULT_STEPS, DEFAULT_RETRIES = 30, 10, 2
DEFAULT_RUNTIME = "subprocess"
_ASK_FROM = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of `hud eval`; None where nothing was said."""

    source: str | None = None
    agent: str | None = None
    all_tasks: bool = False
    task_ids: str | None = None
    model: str | None = None
    config: tuple[str, ...] = ()
    group: int | None = None
    runtime: str | None = None
    env_source: str | None = None
    max_concurrent: int | None = None
    max_steps: int | None = None
    rollout_timeout: float | None = None
    retries: int | None = None
    resume: str | None = None
    yes: bool = False
    dry_run: bool = False
    as_json: bool = False
    verbose: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A job about to run, everything it needs looked up."""

    taskset: Taskset
    agent: Agent
    kind: str
    runtime: Provider
    runtime_name: str
    group: int
    request: Request

    @property
    def total(self) -> int:
        """Rollouts the job owes."""
        return len(self.taskset) * self.group

    @property
    def owed(self) -> dict[str, int]:
        """Members per task."""
        return {task.slug: self.group for task in self.taskset}


def evaluate(request: Request) -> int:
    """Run the job that `request` describes, report it, and return the exit code."""
    streams.guard_stdout()
    plan = prepare(request)
    if request.dry_run:
        report.dry_run(plan.taskset, describe(plan), as_json=request.as_json)
        return GRADED
    _ask(plan)
    job = Job(new_id(), plan.taskset.name, group=plan.group)
    return asyncio.run(_run(plan, job))


def prepare(request: Request) -> Plan:
    """Look up tasks, agent and runtime.

    Raises:
        InputError: when any of them cannot be used.
    """
    source, kind = _who_and_what(request.source, request.agent)
    taskset = Taskset.from_file(source)
    names = [name.strip() for name in (request.task_ids or "").split(",") if name.strip()]
    chosen = select(taskset, names, first_only=not (request.all_tasks or names))
    if len(chosen) < len(taskset) and not names:
        streams.note(f"running 1 of {count(len(taskset), 'task')}; --all runs every one")
    place_name = request.runtime or DEFAULT_RUNTIME
    where = environment_source(source, request.env_source)
    agent = make_agent(kind, model=request.model, config=_config(request), source=where)
    return Plan(
        chosen,
        agent,
        kind,
        place_at(place_name, where),
        place_name,
        request.group or 1,
        request,
    )


def describe(plan: Plan) -> dict[str, Any]:
    """Return what would run, as data."""
    return {
        "taskset": plan.taskset.name,
        "tasks": [task.slug for task in plan.taskset],
        "group": plan.group,
        "rollouts": plan.total,
        "agent": plan.kind,
        "model": plan.agent.model,
        "runtime": plan.runtime_name,
        "max_concurrent": plan.request.max_concurrent or DEFAULT_CONCURRENT,
        "retries": DEFAULT_RETRIES if plan.request.retries is None else plan.request.retries,
        "rollout_timeout": plan.request.rollout_timeout,
    }


async def _run(plan: Plan, job: Job) -> int:
    request = plan.request
    await check_place(plan.runtime)
    tally = Tally(plan.total)
    progress = make_progress(tally, verbose=request.verbose)
    options = Options(
        max_concurrent=request.max_concurrent or DEFAULT_CONCURRENT,
        retries=DEFAULT_RETRIES if request.retries is None else request.retries,
        observer=progress,
        stop=Stop(),
    )
    streams.note(report.heading(describe(plan), job.id))
    with stopping(options.stop, progress.say), showing(progress):
        await run_taskset(
            plan.taskset.name,
            list(plan.taskset),
            plan.agent,
            runtime=plan.runtime,
            group=plan.group,
            job=job,
            rollout_timeout=request.rollout_timeout,
            options=options,
        )
    return await _finish(plan, job, interrupted=options.stop.requests > 0)


async def _finish(plan: Plan, job: Job, *, interrupted: bool) -> int:
    store = default_store()
    ks = sorted({1, plan.group})
    results = await asyncio.to_thread(read_results, store, job.id, owed=plan.owed, ks=ks)
    record = await asyncio.to_thread(store.find_job, job.id)
    if plan.request.as_json:
        streams.write_json(report.as_data(record, results))
    else:
        streams.write(report.as_text(record, results, width=streams.stdout_width()))
    report.where_to_look(record, results)
    return _exit_code(results, interrupted)


def _exit_code(results: Results, interrupted: bool) -> int:
    if interrupted:
        return INTERRUPTED
    return GRADED if results.is_complete else UNGRADED


def _who_and_what(source: str | None, agent: str | None) -> tuple[str, str]:
    """Return the source and the kind of agent; a lone argument may be either."""
    if source in AGENT_KINDS and agent is None and not Path(source).exists():
        source, agent = None, source
    if agent is None:
        raise InputError(
            "no agent was named",
            hint=f"hud eval {source or 'tasks.py'} AGENT, with one of: {', '.join(known_agents())}",
        )
    return source or ".", agent


def _config(request: Request) -> dict[str, Any]:
    """Return the agent's settings; --config max_steps=N says the same as --max-steps N."""
    steps = {"max_steps": request.max_steps or DEFAULT_STEPS}
    return {**steps, **parse_config(request.config)}


def _ask(plan: Plan) -> None:
    """Ask before a large run with a model, when somebody is there to answer.

    Raises:
        InputError: when the answer is no.
    """
    if plan.request.yes or plan.total < _ASK_FROM or plan.agent.model is None:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    sys.stderr.write(f"run {plan.total:,} rollouts with {one_line(plan.agent.model)}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError("nothing was run", hint="answer y, or give --yes")
