"""Recorded runs and steps as pandas data frames: `load_runs` and `load_steps`.

Needs the extra `data`. Every column is nullable: what is not known is `pandas.NA` (`NaT` for a
time), so the reward of an ungraded run is in no mean and no sum, and never a zero.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hud.eval.arrow import arrow_schema, arrow_table, needed, pyarrow
from hud.eval.columns import RUN_COLUMNS, Batch, Column
from hud.eval.reading import Selection, run_batches, run_rows, step_batches, step_columns
from hud.store import LOCAL_TEAM, RunRecord, Store, open_store

if TYPE_CHECKING:
    import pandas as pd

Ids = str | Iterable[str]


def load_runs(
    jobs: Ids | None = None,
    *,
    taskset: str | None = None,
    all_attempts: bool = False,
    include_invalid: bool = False,
    team: str = LOCAL_TEAM,
    home: Path | str | None = None,
    store: Store | None = None,
) -> pd.DataFrame:
    """Return recorded runs as a data frame, a row each, grouped by job and ordered by task.

    What counts is loaded: the latest attempt at every member of every task. The reward of a run
    that is not graded is NA; `outcome` says what broke. Text of few different values is
    categorical, times are UTC, tokens `Int64`, rewards and costs `Float64`.

    Args:
        jobs: The id of a job, or several, or their first digits; all jobs when left out.
        taskset: Only jobs of this taskset.
        all_attempts: Also attempts that a later one replaced: `is_latest` tells them apart.
        include_invalid: Also runs marked as not to be counted: `invalid_reason` says why.
        home: The folder of the store; the one `HUD_HOME` names when left out.
        store: An open store to read instead; it stays open.

    Raises:
        InputError: when an id names no job, or pandas or pyarrow is not installed.
        StoreError: when there is no store, or it cannot be read.
    """
    needed("load_runs")
    selection = Selection(
        jobs=_ids(jobs),
        taskset=taskset,
        team=team,
        all_attempts=all_attempts,
        include_invalid=include_invalid,
    )
    with _opened(store, home) as opened:
        return _frame(RUN_COLUMNS, run_batches(opened, selection))


def load_steps(
    jobs: Ids | None = None,
    *,
    runs: Ids | None = None,
    taskset: str | None = None,
    all_attempts: bool = False,
    include_invalid: bool = False,
    payload: bool = False,
    team: str = LOCAL_TEAM,
    home: Path | str | None = None,
    store: Store | None = None,
) -> pd.DataFrame:
    """Return recorded steps as a data frame, a row each, in the order of their runs.

    Args:
        jobs: As for `load_runs`: the steps of what counts there.
        runs: The id of a run, or several, or their first digits, instead of jobs.
        payload: Also the whole step as JSON, with pictures and long texts in it.

    The other arguments, and what is raised, are those of `load_runs`.
    """
    needed("load_steps")
    selection = Selection(
        jobs=_ids(jobs),
        taskset=taskset,
        team=team,
        all_attempts=all_attempts,
        include_invalid=include_invalid,
    )
    with _opened(store, home) as opened:
        records: Iterator[RunRecord]
        if runs is not None:
            records = (opened.find_run(text, team=team) for text in _ids(runs) or ())
        else:
            records = (row.run for row in run_rows(opened, selection))
        batches = step_batches(opened, records, payload=payload, team=team)
        return _frame(step_columns(payload=payload), batches)


def _ids(given: Ids | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    return (given,) if isinstance(given, str) else tuple(given)


@contextmanager
def _opened(store: Store | None, home: Path | str | None) -> Generator[Store]:
    if store is not None:
        yield store
        return
    opened = open_store(None if home is None else Path(home).expanduser(), create=False)
    try:
        yield opened
    finally:
        opened.close()


def _frame(columns: tuple[Column, ...], batches: Iterator[Batch]) -> pd.DataFrame:
    import pandas as pd

    pa = pyarrow()
    tables = [arrow_table(columns, batch) for batch in batches]
    found = pa.concat_tables(tables) if tables else arrow_schema(columns).empty_table()
    nullable: dict[Any, Any] = {
        pa.int64(): pd.Int64Dtype(),
        pa.float64(): pd.Float64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
        pa.string(): pd.StringDtype(),
    }
    return found.unify_dictionaries().to_pandas(types_mapper=nullable.get)
