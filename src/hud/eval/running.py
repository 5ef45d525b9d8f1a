"""Turn tasks, an agent and a runtime into a job that has run.

Expands tasks into slots, decides the runtime, holds the job's lock and the provider's scope
around the schedule, and records the job's beginning and end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hud._core.errors import InputError
from hud._core.garbage import fewer_collections
from hud._core.ids import new_id
from hud.agents.base import Agent, AgentFunction, as_agent, model_of
from hud.environment.environment import Environment
from hud.environment.task import Task
from hud.eval.budget import Budget
from hud.eval.cancelling import cancellable_job
from hud.eval.job import Job
from hud.eval.recording import default_sinks, job_row, store_of, working_on
from hud.eval.resume import read_attempts
from hud.eval.rollout import Limits, Plan
from hud.eval.schedule import Options, Slot, run_slots
from hud.eval.spending import read_ledger
from hud.runtimes.base import Provider, Runtime, as_provider, provider_scope
from hud.runtimes.hosted import HostedRuntime
from hud.runtimes.local import LocalRuntime

if TYPE_CHECKING:
    from hud.eval.hosting import Hosting


async def run_taskset(
    name: str,
    tasks: Sequence[Task],
    agent: Agent | AgentFunction,
    *,
    runtime: Provider | HostedRuntime | None = None,
    group: int | None = None,
    job: Job | None = None,
    taskset_id: str | None = None,
    rollout_timeout: float | None = None,
    options: Options | None = None,
    budget: Budget | None = None,
    spec: Mapping[str, Any] | None = None,
    graded: Collection[tuple[str, int]] = (),
    attempts: Mapping[tuple[str, int], int] | None = None,
) -> Job:
    """Run every task `group` times but for the members already graded; see `Taskset.run`.

    Args:
        spec: What a later resume needs, recorded with the job.
        graded: (slug, member) of what needs no run any more.
        attempts: How many attempts each member has had already.

    Raises:
        InputError: when the agent lacks something, such as a key.
    """
    agent = as_agent(agent)
    options = options or Options()
    if rollout_timeout is None:
        rollout_timeout = getattr(runtime, "run_timeout", None)
    if isinstance(runtime, HostedRuntime):
        from hud.eval.hosting import Hosting  # asking a platform takes an HTTP client

        if budget is not None:
            raise InputError(
                "a budget for the whole job is counted where its rollouts run, and these run on "
                "the platform",
                hint="the platform has budgets of its own for keys, jobs and teams; or "
                "--runtime hud",
            )
        hosting = Hosting(runtime, agent, retries=options.retries)
        job = job or _new_job(name, len(tasks), group or 1, taskset_id)
        return await _run_hosted(
            name, tasks, agent, hosting, job, group or job.group, rollout_timeout, options
        )
    provider = as_provider(runtime) if runtime is not None else _implied_runtime(tasks)
    size = group or (job.group if job is not None else 1)
    plans = {task.slug: Limits.of(task, agent, rollout_timeout) for task in tasks}
    digests = {task.slug: task.digest() for task in tasks}
    agent.check_ready()
    sinks = default_sinks()
    if job is None:
        job = _new_job(name, len(tasks), size, taskset_id)
    row = job_row(
        job.name,
        job_id=job.id,
        group=size,
        taskset=name,
        agent=agent.name,
        model=model_of(agent),
        runtime=type(provider).__name__,
        spec=spec,
        taskset_id=taskset_id or job.taskset_id,
    )

    def plan_for(task: Task) -> Plan:
        return Plan(task, agent, provider, plans[task.slug], sinks, digests[task.slug], job.meter)

    def was_stopped() -> bool:
        return options.stop.draining.is_set() or job.ended_early is not None

    job.ended_early = None
    async with working_on(
        job.hold, row, sinks, was_stopped=was_stopped, worked_s=lambda: job.meter.wall_s
    ):
        store = store_of(sinks)
        if store is not None:
            await job.meter.read(lambda: read_ledger(store, job.id))
        if attempts is not None and store is not None:
            # Another process may have worked on it between the caller's look and the lock.
            found = await asyncio.to_thread(read_attempts, store, job, plans)
            graded, attempts = {*graded, *found[0]}, {**attempts, **found[1]}
        slots = _slots(tasks, size, job, graded, attempts)
        with job.meter.working(), options.stop.followed() as stop:
            with contextlib.ExitStack() as limits:
                limits.enter_context(cancellable_job(job.id, stop.exhaust))
                if budget is not None:
                    limits.enter_context(job.meter.limited(budget, stop.exhaust))
                async with provider_scope(provider):
                    with fewer_collections():
                        is_whole = await run_slots(
                            job, slots, plan_for, replace(options, stop=stop)
                        )
            if not is_whole:
                job.ended_early = stop.reason
    return job


def _new_job(name: str, tasks: int, group: int, taskset_id: str | None) -> Job:
    job = Job(new_id(), _job_name(name, tasks, group), group=group, taskset_id=taskset_id)
    job.meter.has_read = True
    return job


async def _run_hosted(
    name: str,
    tasks: Sequence[Task],
    agent: Agent,
    hosting: Hosting,
    job: Job,
    group: int,
    rollout_timeout: float | None,
    options: Options,
) -> Job:
    """Have a platform run every task; it keeps the record, and tries again what may pass."""
    plans = {task.slug: Limits.of(task, agent, rollout_timeout) for task in tasks}
    slots = _slots(tasks, group, job, (), None)

    def plan_for(task: Task) -> Plan:
        return Plan(task, agent, _nowhere, plans[task.slug], (), hosting=hosting)

    job.ended_early = None
    # Waiting costs next to nothing, and the platform knows best how many it can run.
    together = options.max_concurrent or max(len(slots), 1)
    with job.meter.working(), options.stop.followed() as stop:
        with cancellable_job(job.id, stop.exhaust):
            async with hosting.of_job(job, name, agent.name):
                asked = replace(options, stop=stop, retries=0, max_concurrent=together)
                is_whole = await run_slots(job, slots, plan_for, asked)
        if not is_whole:
            job.ended_early = stop.reason
    return job


def _nowhere(task: Task, /) -> AbstractAsyncContextManager[Runtime]:
    """Stand for a provider where none is asked: the platform places its rollouts itself."""
    raise AssertionError(task)


def _slots(
    tasks: Sequence[Task],
    group: int,
    job: Job,
    graded: Collection[tuple[str, int]],
    attempts: Mapping[tuple[str, int], int] | None,
) -> list[Slot]:
    """Expand tasks × group, repeats of a task side by side, without what is graded.

    A further batch of a job goes on counting members where the one before stopped; only taking a
    job up again (`attempts` given) tries the same members once more.
    """
    slots: list[Slot] = []
    for task in tasks:
        group_id = new_id()
        first = 0 if attempts is not None else job.members.get(task.slug, 0)
        for member in range(first, first + group):
            key = (task.slug, member)
            if key not in graded:
                tried = attempts.get(key, 0) if attempts is not None else 0
                slots.append(Slot(task, member, group_id, tried + 1))
        job.members[task.slug] = first + group
    return slots


def _job_name(name: str, tasks: int, group: int) -> str:
    base = name if tasks == 1 else f"{name} ({tasks} tasks)"
    return base if group == 1 else f"{base} ({group} times)"


def _implied_runtime(tasks: Sequence[Task]) -> Provider:
    """Return the runtime that follows from the tasks: the live environments they were minted by.

    Raises:
        ValueError: when a task was not minted by a live environment.
    """
    environments: dict[int, Environment] = {}
    for task in tasks:
        if task.environment is None:
            raise ValueError(
                f"task {task.slug!r} is only data: say where to run it with runtime=…, "
                "for example LocalRuntime(path) or SubprocessRuntime(path)"
            )
        environments[id(task.environment)] = task.environment
    if len(environments) == 1:
        return LocalRuntime(next(iter(environments.values())))
    return LiveEnvironments(list(environments.values()))


class LiveEnvironments:
    """Place each task in the live environment it was minted by."""

    def __init__(self, environments: Sequence[Environment]) -> None:
        self._runtimes = {id(env): LocalRuntime(env) for env in environments}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> LiveEnvironments:
        for runtime in self._runtimes.values():
            await self._stack.enter_async_context(runtime)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def __call__(self, task: Task, /) -> AbstractAsyncContextManager[Runtime]:
        return self._runtimes[id(task.environment)](task)
