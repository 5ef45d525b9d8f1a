"""Whole tasksets that the platform runs by itself: one job of it, and its ungraded runs once more.

When such a job is over is `ending`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from hud._core import json
from hud._core.ids import new_id
from hud.platform.database import now_us
from hud.platform.errors import ApiError
from hud.platform.identity import Caller
from hud.platform.registry.contents import TaskVersion, Wanted, page_of_tasks
from hud.platform.registry.tasksets import Taskset, find_taskset
from hud.platform.rollouts.ending import RUNTIME
from hud.platform.rollouts.order import AgentAsk, RolloutAsk
from hud.platform.rollouts.rollouts import OPEN_PER_TEAM, Rollouts
from hud.platform.services import Services
from hud.store import JobRow
from hud.store.records import JobRecord

_PAGE = 500
_TOGETHER = 200
_KEY = "launched"
_WHICH = {"slugs", "search", "env"}
# Trying one again that somebody ended is for that somebody to say, one by one.
_AGAIN_NOT = ("graded", "cancelled")


class Launch(BaseModel):
    """How a taskset is to be run.

    Attributes:
        group: How often each task.
        slugs: Only these tasks; None is all of them.
        search: Of these only the tasks that are found by these words, as in a listing.
        env: Of these only the tasks of this environment.
        rollout_timeout: Seconds for one whole rollout.
        retries: Further attempts at an ungraded run whose cause may pass by itself.
    """

    model_config = ConfigDict(extra="ignore")

    agent: AgentAsk
    group: int = Field(default=1, ge=1, le=1000)
    slugs: list[str] | None = Field(default=None, min_length=1, max_length=10_000)
    search: str = Field(default="", max_length=500, pattern=r"^[^\x00]*$")
    env: str | None = Field(default=None, max_length=200, pattern=r"^[^\x00]*$")
    rollout_timeout: float | None = Field(default=None, gt=0, le=7 * 86_400, allow_inf_nan=False)
    retries: int = Field(default=2, ge=0, le=10)


async def launch(
    services: Services, rollouts: Rollouts, caller: Caller, taskset_id: str, wanted: Launch
) -> tuple[str, int]:
    """Begin a job of a taskset and queue its rollouts; return its id and how many there are.

    Raises:
        ApiError: when there is no such taskset, it has no such tasks, or they cannot be run.
        InputError: for an agent that does not run here.
    """
    taskset, tasks = await run_in_threadpool(_tasks, services, caller.team, taskset_id, wanted)
    total = len(tasks) * wanted.group
    if total > OPEN_PER_TEAM:
        text = f"{total:,} rollouts are more than the {OPEN_PER_TEAM:,} that a team may have open"
        raise ApiError(429, text, kind="too_many")
    asks = [ask for task in tasks for ask in [_ask(task, wanted, new_id())] * wanted.group]
    await rollouts.check(caller, wanted.agent, (ask.agent_config for ask in asks))
    job_id = new_id()
    times = f" ({wanted.group} times)" if wanted.group > 1 else ""
    tasks_said = f"{len(tasks)} task{'s' if len(tasks) > 1 else ''}"
    now = now_us()
    services.store.put(
        JobRow(
            team=caller.team,
            id=job_id,
            name=f"{taskset.name} ({tasks_said}){times}",
            created_at=now,
            group_size=wanted.group,
            taskset=taskset.name,
            taskset_id=taskset.id,
            project_id=taskset.project_id,
            agent=wanted.agent.type,
            model=_model(wanted.agent),
            runtime=RUNTIME,
            spec={_KEY: wanted.model_dump(mode="json", exclude=_WHICH)},
            heard_at=now,
            key_id=caller.key_id,
        )
    )
    await _submit(rollouts, caller, job_id, [(ask, None, 1) for ask in asks])
    return job_id, total


async def run_again(services: Services, rollouts: Rollouts, caller: Caller, job: JobRecord) -> int:
    """Queue another attempt at each ungraded run of a launched job; return how many.

    Raises:
        ApiError: with status 409, when the job was not launched here.
    """
    held = (job.spec or {}).get(_KEY)
    if held is None or job.taskset_id is None:
        raise ApiError(
            409,
            "this job was not begun by the platform, so it does not know how to run it again",
            kind="not_launched",
            hint=f"hud eval --resume {job.id}, where it was begun",
        )
    wanted = Launch.model_validate(held)
    again = await run_in_threadpool(_broken, services, caller.team, job, wanted)
    await _submit(rollouts, caller, job.id, again)
    return len(again)


async def _submit(
    rollouts: Rollouts,
    caller: Caller,
    job_id: str,
    asks: Sequence[tuple[RolloutAsk, int | None, int]],
) -> None:
    """Queue rollouts, each as a member of its task and an attempt at it."""
    for start in range(0, len(asks), _TOGETHER):
        some = asks[start : start + _TOGETHER]
        first, rest = (some[:1], some[1:]) if start == 0 else ((), some)
        for ask, member, attempt in first:  # what is wrong with all is said once
            await rollouts.submit(caller, new_id(), job_id, ask, member=member, attempt=attempt)
        await asyncio.gather(
            *(
                rollouts.submit(caller, new_id(), job_id, ask, member=member, attempt=attempt)
                for ask, member, attempt in rest
            )
        )


def _tasks(
    services: Services, team: str, taskset_id: str, wanted: Launch
) -> tuple[Taskset, list[TaskVersion]]:
    with services.database.reading() as connection:
        taskset = find_taskset(connection, team, taskset_id)
        found: list[TaskVersion] = []
        after = 0
        fitting = Wanted(wanted.search, wanted.env)
        while True:
            page, _ = page_of_tasks(connection, team, taskset.id, fitting, limit=_PAGE, after=after)
            found += page
            if len(page) < _PAGE:
                break
            after = page[-1].position
    if wanted.slugs is not None:
        chosen = set(wanted.slugs)
        found = [task for task in found if task.slug in chosen]
        unknown = chosen - {task.slug for task in found}
        if unknown:
            fits = " that fits" if wanted.search or wanted.env else ""
            text = f"taskset {taskset.name!r} has no task {min(unknown)[:200]!r}{fits}"
            raise ApiError(404, text, kind="not_found")
    if not found:
        if wanted.search or wanted.env:
            text = f"taskset {taskset.name!r} has no task that fits"
            raise ApiError(409, text, kind="empty", hint="look for other words, or for none")
        text = f"taskset {taskset.name!r} has no task"
        raise ApiError(409, text, kind="empty", hint="hud sync tasks puts some into it")
    return taskset, found


def _broken(
    services: Services, team: str, job: JobRecord, wanted: Launch
) -> list[tuple[RolloutAsk, int | None, int]]:
    """Return what is to be asked for again: the task as it is in the taskset now."""
    assert job.taskset_id is not None
    _, tasks = _tasks(services, team, job.taskset_id, wanted)
    known = {task.slug: task for task in tasks}
    groups = {slug: new_id() for slug in known}
    latest = services.store.latest_attempts(job.id, team=team)
    return [
        (_ask(known[one.task_slug], wanted, groups[one.task_slug]), one.member, one.attempt + 1)
        for one in latest
        if one.outcome is not None and one.outcome not in _AGAIN_NOT and one.task_slug in known
    ]


def _ask(task: TaskVersion, wanted: Launch, group_id: str) -> RolloutAsk:
    row: dict[str, Any] = json.decode(task.record)
    try:
        return RolloutAsk(
            env=task.env,
            task=task.task_id,
            slug=task.slug,
            args=row.get("args") or {},
            agent=wanted.agent,
            group_id=group_id,
            agent_config=row.get("agent_config"),
            runtime_config=row.get("runtime_config"),
            verifier=row.get("verifier"),
            rollout_timeout=wanted.rollout_timeout,
            retries=wanted.retries,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        text = f"task {task.slug[:200]!r}: {where}: {first['msg']}"
        raise ApiError(409, text, kind="bad_task") from error


def _model(ask: AgentAsk) -> str | None:
    model = ask.config.get("model")
    return model if isinstance(model, str) else None
