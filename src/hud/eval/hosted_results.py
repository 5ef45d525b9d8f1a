"""What a job says that a platform ran, from its runs as they were read back.

A job of this machine is read from the store instead: see `results`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from hud.agents.base import Agent, model_of
from hud.agents.run import Run
from hud.eval.job import Job
from hud.eval.results import Member, Results, results_from
from hud.eval.spending import Spent
from hud.store import LOCAL_TEAM, JobRecord, JobStatus

USED = "used"
"""Where a run that was read back has what it used, in the extra data of its trace."""


def results_of(job: Job, *, owed: Mapping[str, int], ks: Iterable[int] = (1,)) -> Results:
    """Return what the runs of a job say."""
    members = tuple(_member(run) for runs in job.results.values() for run in runs)
    return results_from(members, owed, tuple(ks), spent=job.spent, wall_s=job.meter.wall_s)


def job_record(job: Job, *, status: JobStatus, taskset: str, agent: Agent) -> JobRecord:
    """Return a job as a record; it is kept nowhere here."""
    began = min((run.started_at for run in job.runs if run.started_at), default=_now())
    return JobRecord(
        id=job.id,
        team=LOCAL_TEAM,
        name=job.name,
        status=status,
        created_at=began,
        ended_at=_now(),
        group_size=job.group,
        taskset=taskset,
        agent=agent.name,
        model=model_of(agent),
        runtime="HostedRuntime",
        spec=None,
        worked_s=job.meter.wall_s,
        taskset_id=job.taskset_id,
    )


def _member(run: Run) -> Member:
    used: Any = run.trace.extra.get(USED)
    spent = Spent(**used) if used else Spent()
    return Member(
        run.trace_id or "",
        run.slug or run.task_id,
        run.member,
        run.attempt,
        run.outcome,
        run.reward if run.is_graded else math.nan,
        None if run.is_graded else run.trace.error,
        run.trace.stop_reason,
        run.started_at or 0,
        run.ended_at,
        spent.tokens,
        spent.turns,
        spent.unpriced_turns,
        spent.known_cost_usd,
    )


def _now() -> int:
    return time.time_ns() // 1_000
