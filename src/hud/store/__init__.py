"""What is kept: jobs, runs, steps and blobs, in one store that evals write and a server serves.

`open_store()` is the way in. Rows are plain data; a `Store` takes them and gives records back.
"""

from __future__ import annotations

from pathlib import Path

from hud._core.paths import hud_home, make_home
from hud.store.base import Store, every_run
from hud.store.changes import ANYTHING, Change
from hud.store.filters import JobFilter, RunFilter
from hud.store.liveness import SILENCE_S
from hud.store.locks import job_holder, lock_job
from hud.store.records import (
    Attempt,
    DebugSpanRecord,
    JobCounts,
    JobRecord,
    JobSummary,
    RunRecord,
    StepRecord,
)
from hud.store.rows import (
    FIRST_ARRIVAL,
    LOCAL_TEAM,
    UNCOUNTED,
    BlobRow,
    DebugSpanRow,
    JobEnd,
    JobHeard,
    JobRow,
    JobStatus,
    Row,
    RunEnd,
    RunMark,
    RunStart,
    RunStatus,
    StepRow,
    Used,
)


def open_store(home: Path | None = None, *, create: bool = True) -> Store:
    """Open the embedded store in `home` (default: the folder `HUD_HOME` names).

    Several processes may have it open at once; the stores of one process share one writer.

    Args:
        home: The folder of the store.
        create: Make the folder and the store when they are missing. False also accepts a store
            that can only be read.

    Raises:
        StoreError: when the store cannot be used, with the reason.
    """
    from hud.store.blobs import BlobFolder
    from hud.store.database import prepare
    from hud.store.sql_store import SqlStore
    from hud.store.sqlite_engine import SqliteEngine

    where = home.absolute() if home is not None else hud_home(create=False)
    if create or where.exists():
        make_home(where)
    return SqlStore(SqliteEngine(prepare(where, create=create)), BlobFolder(where / "blobs"))


__all__ = [
    "ANYTHING",
    "FIRST_ARRIVAL",
    "LOCAL_TEAM",
    "SILENCE_S",
    "UNCOUNTED",
    "Attempt",
    "BlobRow",
    "Change",
    "DebugSpanRecord",
    "DebugSpanRow",
    "JobCounts",
    "JobEnd",
    "JobFilter",
    "JobHeard",
    "JobRecord",
    "JobRow",
    "JobStatus",
    "JobSummary",
    "Row",
    "RunEnd",
    "RunFilter",
    "RunMark",
    "RunRecord",
    "RunStart",
    "RunStatus",
    "StepRecord",
    "StepRow",
    "Store",
    "Used",
    "every_run",
    "hud_home",
    "job_holder",
    "lock_job",
    "open_store",
]
