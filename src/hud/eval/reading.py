"""Reads recorded runs and steps in batches of columns, so that any number of them fits in memory.

Which columns there are is `columns`. By default what counts is read: the latest attempt at every
member, those marked invalid left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hud._core.garbage import fewer_collections
from hud.eval.columns import (
    PAYLOAD_COLUMN,
    RUN_COLUMNS,
    STEP_COLUMNS,
    Batch,
    Column,
    RunRow,
    batch_of,
    step_row,
)
from hud.eval.contender import EVERY_JOB, every_job, summaries_of_taskset
from hud.store import LOCAL_TEAM, JobRecord, JobSummary, RunRecord, Store, every_run

BATCH = 5_000
"""Rows of a batch, unless a single step is very large."""

_BATCH_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which runs are wanted.

    Attributes:
        jobs: Ids of jobs or their first digits; None for every job.
        taskset: Only jobs of this taskset.
        all_attempts: Also attempts that a later one replaced.
        include_invalid: Also runs that were marked as not to be counted.
    """

    jobs: tuple[str, ...] | None = None
    taskset: str | None = None
    team: str = LOCAL_TEAM
    all_attempts: bool = False
    include_invalid: bool = False


def selected_jobs(store: Store, selection: Selection) -> Iterator[tuple[JobRecord, int | None]]:
    """Yield the jobs, and of those found by listing how many runs they have.

    Raises:
        InputError: when an id names no job, or more than one, or nothing ran the taskset.
    """
    if selection.jobs is None:
        listed: Iterable[JobSummary]
        if selection.taskset is None:
            listed = every_job(store, EVERY_JOB, team=selection.team)
        else:
            listed = summaries_of_taskset(store, selection.taskset, team=selection.team)
        for summary in listed:
            yield summary.job, summary.counts.attempts
        return
    seen: set[str] = set()
    for text in selection.jobs:
        job = store.find_job(text, team=selection.team)
        if job.id not in seen and selection.taskset in (None, job.taskset):
            seen.add(job.id)
            yield job, None


def run_rows(store: Store, selection: Selection) -> Iterator[RunRow]:
    """Yield the runs, job by job, each by task, member and attempt."""
    for job, attempts in selected_jobs(store, selection):
        if attempts == 0:
            continue
        last: RunRecord | None = None
        for run in every_run(store, job.id, team=selection.team):
            if last is not None:
                is_latest = (last.task_slug, last.member) != (run.task_slug, run.member)
                yield from _wanted(last, job, is_latest, selection)
            last = run
        if last is not None:
            yield from _wanted(last, job, True, selection)


def _wanted(
    run: RunRecord, job: JobRecord, is_latest: bool, selection: Selection
) -> Iterator[RunRow]:
    is_valid = run.invalid_reason is None or selection.include_invalid
    if is_valid and (is_latest or selection.all_attempts):
        yield RunRow(run, job, is_latest)


def run_batches(
    store: Store, selection: Selection, told: Callable[[int], None] = lambda rows: None
) -> Iterator[Batch]:
    """Yield the runs as batches of columns; `told` hears how many more rows were read."""
    held: list[RunRow] = []
    with fewer_collections():
        for row in run_rows(store, selection):
            held.append(row)
            if len(held) == BATCH:
                yield batch_of(RUN_COLUMNS, held)
                told(len(held))
                held = []
        if held:
            yield batch_of(RUN_COLUMNS, held)
            told(len(held))


def step_columns(*, payload: bool) -> tuple[Column, ...]:
    """Return the columns of steps, with or without the steps themselves."""
    return (*STEP_COLUMNS, PAYLOAD_COLUMN) if payload else STEP_COLUMNS


def step_batches(
    store: Store,
    runs: Iterable[RunRecord],
    *,
    payload: bool = False,
    team: str = LOCAL_TEAM,
    told: Callable[[int], None] = lambda rows: None,
) -> Iterator[Batch]:
    """Yield the steps of runs as batches of columns; `told` hears how many more rows were read.

    Args:
        payload: Also the whole step as JSON, with the contents that were kept apart from it.
    """
    columns = step_columns(payload=payload)
    held: Batch = {column.name: [] for column in columns}
    count = size = 0
    with fewer_collections():
        for run in runs:
            for step in store.read_steps(run.id, resolve=payload, team=team):
                row = step_row(step, run)
                for column in columns:
                    held[column.name].append(column.value(row))
                count += 1
                size += len(step.payload)
                if count == BATCH or size >= _BATCH_BYTES:
                    yield held
                    told(count)
                    held = {column.name: [] for column in columns}
                    count = size = 0
        if count:
            yield held
            told(count)
