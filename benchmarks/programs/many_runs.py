"""Fill a store with jobs of one taskset, through the store's own rows; no steps."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs import spec
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.store import JobEnd, JobRow, Row, RunEnd, RunStart, open_store

BEGAN = 1_700_000_000_000_000
UNGRADED = 0.01


@dataclass(frozen=True)
class Work:
    """What to build in the folder `home`: jobs of `tasks` times `group` runs each."""

    home: str
    jobs: int
    tasks: int
    group: int


def main(work: Work) -> None:
    draw = random.Random(1)
    store = open_store(Path(work.home))
    chances = [draw.random() for _ in range(work.tasks)]
    jobs: list[str] = []
    for number in range(work.jobs):
        job_id = new_id()
        jobs.append(job_id)
        store.put(
            JobRow(
                id=job_id,
                created_at=BEGAN + number,
                name=f"job {number}",
                group_size=work.group,
                taskset="set",
                agent="agent",
                model=f"model-{number}",
            )
        )
        for task, chance in enumerate(chances):
            for member in range(work.group):
                _run(store.put, job_id, f"task-{task}", member, draw.random() < chance, draw)
        store.put(JobEnd(id=job_id, status="completed", ended_at=BEGAN + number + 10**9))
    store.close()
    spec.write({"jobs": jobs})


def _run(
    put: Callable[[Row], None], job_id: str, slug: str, member: int, won: bool, draw: random.Random
) -> None:
    run_id = new_id()
    put(
        RunStart(
            id=run_id,
            job_id=job_id,
            task_slug=slug,
            task_id=slug,
            env="env",
            member=member,
            started_at=BEGAN + member,
            task_digest="0123456789abcdef",
        )
    )
    is_graded = draw.random() >= UNGRADED
    put(
        RunEnd(
            id=run_id,
            job_id=job_id,
            status="completed" if is_graded else "error",
            outcome=Outcome.GRADED if is_graded else Outcome.MODEL,
            reward=float(won) if is_graded else None,
            error=None if is_graded else "the endpoint did not answer",
            ended_at=BEGAN + member + 5_000_000,
            evaluation={"score": float(won)} if is_graded else None,
            prompt_tokens=1_000,
            completion_tokens=100,
            llm_calls=1,
            turns=1,
            cost_usd=0.01,
            known_cost_usd=0.01,
        )
    )


if __name__ == "__main__":
    main(spec.read(Work))
