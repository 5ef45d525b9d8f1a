"""What is kept: jobs, runs, steps and blobs, in one store that evals write and a server serves.

`open_store()` is the way in. Rows are plain data; a `Store` takes them and gives records back.
"""

from __future__ import annotations

from hud._core.paths import hud_home
from hud.store.base import Store, every_run
from hud.store.changes import ANYTHING, Change
from hud.store.filters import JobFilter, RunFilter
from hud.store.liveness import SILENCE_S
from hud.store.locks import job_holder, lock_job
from hud.store.opening import open_store
from hud.store.records import (
    Attempt,
    BlobRecord,
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

__all__ = [
    "ANYTHING",
    "FIRST_ARRIVAL",
    "LOCAL_TEAM",
    "SILENCE_S",
    "UNCOUNTED",
    "Attempt",
    "BlobRecord",
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
