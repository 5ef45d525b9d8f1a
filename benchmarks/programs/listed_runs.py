"""Fill a store with runs of many jobs, as evals and reporters do, then time what lists them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.programs import spec
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.store import (
    JobEnd,
    JobFilter,
    JobRow,
    Row,
    RunEnd,
    RunFilter,
    RunStart,
    Store,
    open_store,
)

JOBS = 500
TASKS = 100
UNGRADED_EVERY = 997
UNFINISHED_EVERY = 5_000
RARE = "rare-model"
ROUNDS = 15


@dataclass(frozen=True)
class Work:
    """How many runs, in the embedded store of `home` or in a database by its URL."""

    home: str
    runs: int
    database: str | None = None


def main(work: Work) -> None:
    store = open_store(Path(work.home), database=work.database)
    for row in _rows(work.runs):
        store.put(row)
    store.flush()
    if work.database is not None:
        # What the server does by itself within a minute.
        with psycopg.connect(work.database, autocommit=True) as connection:
            connection.execute("ANALYZE")
    spec.write({name: _median_ms(ask) for name, ask in _questions(store).items()})
    store.close()


def _rows(total: int) -> Iterator[Row]:
    """Yield jobs of one team, every other one reported, the oldest of a model of its own."""
    each = total // JOBS
    began = time.time_ns() // 1_000 - total * 1_000
    for number in range(JOBS):
        job_id, at = new_id(), began + number * each * 1_000
        model = RARE if number == 0 else f"model-{number % 7}"
        yield JobRow(
            id=job_id,
            created_at=at,
            name=f"job {number}",
            taskset=f"set-{number % 5}",
            model=model,
            heard_at=at if number % 2 else None,
        )
        for member in range(each):
            yield from _run(job_id, number * each + member, member, at + member * 1_000, model)
        if number % 2 == 0:
            yield JobEnd(id=job_id, status="completed", ended_at=at + each * 1_000)


def _run(job_id: str, number: int, member: int, at: int, model: str) -> Iterator[Row]:
    run_id = new_id()
    slug = "rare-task" if number == 0 else f"count-letter-{member % TASKS}"
    yield RunStart(
        id=run_id,
        job_id=job_id,
        task_slug=slug,
        member=member // TASKS,
        started_at=at,
        env="letters",
        model=model,
    )
    if number % UNFINISHED_EVERY == 0:
        return
    is_graded = number % UNGRADED_EVERY != 0
    yield RunEnd(
        id=run_id,
        job_id=job_id,
        status="completed" if is_graded else "error",
        outcome=Outcome.GRADED if is_graded else Outcome.MODEL,
        reward=float(number % 2) if is_graded else None,
        error=None if is_graded else "the endpoint did not answer",
        evaluation={"reward": 1.0, "info": {"note": "x" * 100}},
        ended_at=at + 500,
        prompt_tokens=24,
        completion_tokens=4,
        llm_calls=1,
    )


def _questions(store: Store) -> dict[str, Callable[[], object]]:
    newest = store.list_jobs(limit=1)[0].job
    last = store.list_runs(limit=100)[-1]
    filters = {
        "unfinished": RunFilter(status="running"),
        "ungraded": RunFilter(outcome=Outcome.MODEL),
        "of a model": RunFilter(model="model-3"),
        "of a model used once, long ago": RunFilter(model=RARE),
        "of a task": RunFilter(task_slug="count-letter-7"),
        "of a task run once, long ago": RunFilter(task_slug="rare-task"),
        "of a task there is not": RunFilter(task_slug="no-such-task"),
        "of a job": RunFilter(job_id=newest.id),
    }
    asked: dict[str, Callable[[], object]] = {
        "runs": store.list_runs,
        "runs, the next page": lambda: store.list_runs(before=last),
    }
    for name, narrowed in filters.items():
        asked[f"runs {name}"] = lambda narrowed=narrowed: store.list_runs(narrowed)
    asked["jobs with their counts"] = store.list_jobs
    asked["jobs by name"] = lambda: store.list_jobs(JobFilter(name="job 49"))
    return asked


def _median_ms(ask: Callable[[], object]) -> float:
    taken: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1_000


if __name__ == "__main__":
    main(spec.read(Work))
