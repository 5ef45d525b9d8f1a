"""Turn tasks, an agent and a runtime into a job that has run.

Expands tasks into slots, decides the runtime, holds the job's lock and the provider's scope
around the schedule, and records the job's beginning and end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any

from hud._core.ids import new_id
from hud.agents.base import Agent, AgentFunction, as_agent
from hud.environment.environment import Environment
from hud.environment.task import Task
from hud.eval.job import Job
from hud.eval.recording import default_sinks, recorded_job, store_of
from hud.eval.rollout import Limits, Plan
from hud.eval.schedule import Options, Slot, run_slots
from hud.runtimes.base import Provider, Runtime, provider_scope
from hud.runtimes.local import LocalRuntime
from hud.store import JobEnd, JobStatus
from hud.trace.sinks import Sink


async def run_taskset(
    name: str,
    tasks: Sequence[Task],
    agent: Agent | AgentFunction,
    *,
    runtime: Provider | None = None,
    group: int | None = None,
    job: Job | None = None,
    taskset_id: str | None = None,
    rollout_timeout: float | None = None,
    options: Options | None = None,
    spec: Mapping[str, Any] | None = None,
    graded: Collection[tuple[str, int]] = (),
    attempts: Mapping[tuple[str, int], int] | None = None,
) -> Job:
    """Run every task `group` times but for the members already graded; see `Taskset.run`.

    Args:
        spec: What a later resume needs, recorded with the job.
        graded: (slug, member) of what needs no run any more.
        attempts: How many attempts each member has had already.
    """
    agent = as_agent(agent)
    options = options or Options()
    provider = runtime or _implied_runtime(tasks)
    size = group or (job.group if job is not None else 1)
    plans = {task.slug: Limits.of(task, agent, rollout_timeout) for task in tasks}
    digests = {task.slug: task.digest() for task in tasks}
    sinks = default_sinks()
    if job is None:
        job = Job(new_id(), _job_name(name, len(tasks), size), group=size, taskset_id=taskset_id)
    recorded_job(
        sinks,
        job.name,
        job_id=job.id,
        group=size,
        taskset=name,
        agent=agent.name,
        model=agent.model,
        runtime=type(provider).__name__,
        spec=spec,
    )

    def plan_for(task: Task) -> Plan:
        return Plan(task, agent, provider, plans[task.slug], sinks, digests[task.slug])

    slots = _slots(tasks, size, graded, attempts or {})
    async with _held(job, sinks, options), provider_scope(provider):
        await run_slots(job, slots, plan_for, options)
    return job


def _slots(
    tasks: Sequence[Task],
    group: int,
    graded: Collection[tuple[str, int]],
    attempts: Mapping[tuple[str, int], int],
) -> list[Slot]:
    """Expand tasks × group, repeats of a task side by side, without what is graded."""
    slots: list[Slot] = []
    for task in tasks:
        group_id = new_id()
        for member in range(group):
            key = (task.slug, member)
            if key not in graded:
                slots.append(Slot(task, member, group_id, attempts.get(key, 0) + 1))
    return slots


def _job_name(name: str, tasks: int, group: int) -> str:
    base = name if tasks == 1 else f"{name} ({tasks} tasks)"
    return base if group == 1 else f"{base} ({group} times)"


@contextlib.asynccontextmanager
async def _held(job: Job, sinks: Sequence[Sink], options: Options) -> AsyncGenerator[None]:
    """Hold the job's lock, and record how it ended however that comes about."""
    store = store_of(sinks)
    if store is None:
        yield
        return
    with store.lock_job(job.id):
        status: JobStatus = "interrupted"
        try:
            yield
            status = "cancelled" if options.stop.draining.is_set() else "completed"
        except asyncio.CancelledError:
            status = "cancelled"
            raise
        finally:
            store.put(JobEnd(id=job.id, status=status, ended_at=time.time_ns() // 1_000))
            await store.committed()


def _implied_runtime(tasks: Sequence[Task]) -> Provider:
    """Return the runtime that follows from the tasks: the live environments they were minted by.

    Raises:
        ValueError: when a task was not minted by a live environment.
    """
    environments: dict[str, Environment] = {}
    for task in tasks:
        if task.environment is None:
            raise ValueError(
                f"task {task.slug!r} is only data: say where to run it with runtime=…, "
                "for example LocalRuntime(path) or SubprocessRuntime(path)"
            )
        environments[task.env] = task.environment
    if len({id(env) for env in environments.values()}) == 1:
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

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        async with self._runtimes[id(task.environment)](task) as runtime:
            yield runtime
