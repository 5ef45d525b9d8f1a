"""What the tests of comparisons and leaderboards share: contenders and jobs, from numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.eval.contender import Contender, TaskRuns
from hud.eval.results import Member
from hud.store import JobEnd, JobRow, JobStatus, RunEnd, RunStart, StepRow, Store

NAN = math.nan
BEGAN = 1_700_000_000_000_000
Rewards = Mapping[str, Sequence[float | Outcome]]


def member(
    task: str,
    number: int,
    reward: float | Outcome,
    *,
    attempt: int = 1,
    digest: str | None = "v1",
    cost_usd: float | None = 0.5,
    unpriced: int = 0,
    invalid: str | None = None,
) -> Member:
    """Return one attempt that took 2 s and 100 tokens; an outcome or NaN stands for no grade."""
    outcome = reward if isinstance(reward, Outcome) else Outcome.GRADED
    value = NAN if isinstance(reward, Outcome) else reward
    if outcome is Outcome.GRADED and math.isnan(value):
        outcome = Outcome.MODEL
    return Member(
        new_id(),
        task,
        number,
        attempt,
        outcome,
        value,
        None if outcome is Outcome.GRADED else "it broke",
        "done",
        BEGAN,
        BEGAN + 2_000_000,
        100,
        1,
        unpriced,
        cost_usd,
        digest,
        invalid,
    )


def contender(name: str, rewards: Rewards, **about: object) -> Contender:
    """Return a contender with these rewards by task, one member each."""
    tasks: dict[str, TaskRuns] = {}
    for task, values in rewards.items():
        members = tuple(
            member(task, number, value, **about)  # type: ignore[arg-type]
            for number, value in enumerate(values)
        )
        tasks[task] = TaskRuns(task, members, members)
    return Contender(name, tasks, agent="agent", model=name)


def record_job(
    store: Store,
    rewards: Rewards,
    *,
    taskset: str | None = "set",
    agent: str | None = "claude",
    model: str | None = "m1",
    created_at: int = BEGAN,
    digests: Mapping[str, str] | None = None,
    status: JobStatus | None = "completed",
    cost_usd: float | None = 0.5,
    spec: Mapping[str, object] | None = None,
    steps: Sequence[bytes] = (),
    team: str = "local",
) -> str:
    """Record a job with these rewards by task; `Outcome` stands for how an ungraded run ended."""
    job_id = new_id()
    group = max((len(values) for values in rewards.values()), default=1)
    store.put(
        JobRow(
            id=job_id,
            created_at=created_at,
            name=f"{taskset} job",
            group_size=group,
            taskset=taskset,
            agent=agent,
            model=model,
            spec=spec,
            team=team,
        )
    )
    began = created_at
    for task, values in rewards.items():
        for number, value in enumerate(values):
            began += 1_000
            run_id = new_id()
            store.put(
                RunStart(
                    id=run_id,
                    job_id=job_id,
                    task_slug=task,
                    task_id=task,
                    env="env",
                    member=number,
                    started_at=began,
                    model=model,
                    task_digest=(digests or {}).get(task, "v1"),
                    team=team,
                )
            )
            for seq, payload in enumerate(steps, start=1):
                store.put(StepRow(run_id=run_id, seq=seq, payload=payload, team=team))
            outcome = value if isinstance(value, Outcome) else Outcome.GRADED
            store.put(
                RunEnd(
                    id=run_id,
                    job_id=job_id,
                    status="completed" if outcome is Outcome.GRADED else "error",
                    outcome=outcome,
                    ended_at=began + 2_000_000,
                    reward=None if isinstance(value, Outcome) else value,
                    stop_reason="done",
                    error=None if outcome is Outcome.GRADED else "it broke",
                    prompt_tokens=80,
                    completion_tokens=20,
                    llm_calls=1,
                    turns=1,
                    unpriced_turns=0 if cost_usd is not None else 1,
                    cost_usd=cost_usd,
                    known_cost_usd=cost_usd,
                    team=team,
                )
            )
    if status is not None:
        store.put(JobEnd(id=job_id, status=status, ended_at=began + 3_000_000, team=team))
    store.flush()
    return job_id
