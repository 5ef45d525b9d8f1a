"""What is kept: jobs, runs, steps and blobs, in one store that evals write and a server serves.

`open_store()` is the way in. Rows are plain data; a `Store` takes them and gives records back.
"""

from __future__ import annotations

from pathlib import Path

from hud._core.errors import InputError, StoreError, bounded
from hud._core.paths import hud_home, make_home
from hud.store.base import Store, every_run
from hud.store.blobs import BlobFolder, Blobs
from hud.store.changes import ANYTHING, Change
from hud.store.engine import Engine
from hud.store.filters import JobFilter, RunFilter
from hud.store.liveness import SILENCE_S
from hud.store.locks import job_holder, lock_job
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
    JobCount,
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


def open_store(
    home: Path | None = None,
    *,
    create: bool = True,
    database: str | None = None,
    blobs: str | None = None,
) -> Store:
    """Open the embedded store in `home` (default: the folder `HUD_HOME` names), or a team's.

    Several processes may have it open at once; the stores of one process share one writer.

    Args:
        home: The folder of the store.
        create: Make the folder and the store when they are missing. False also accepts a store
            that can only be read.
        database: A `postgresql://` URL, in place of the file in `home`.
        blobs: Where long texts and media are, in place of a folder in `home`: a URL that fsspec
            understands, such as `s3://BUCKET/PREFIX`.

    Raises:
        StoreError: when the store cannot be used, with the reason.
        InputError: when a URL cannot be understood.
    """
    from hud.store.sql_store import SqlStore

    where = home.absolute() if home is not None else hud_home(create=False)
    if (database is None or blobs is None) and (create or where.exists()):
        make_home(where)
    return SqlStore(_engine(where, database, create=create), _blobs(where, blobs))


def _blobs(home: Path, url: str | None) -> Blobs:
    if url is None:
        return BlobFolder(home / "blobs")
    scheme, separator, path = url.partition("://")
    if not separator or scheme == "file":
        return BlobFolder(Path(path if separator else url).absolute())
    from hud.store.remote_blobs import RemoteBlobs

    return RemoteBlobs(url)


def _engine(home: Path, database: str | None, *, create: bool) -> Engine:
    if database is None:
        from hud.store.database import prepare
        from hud.store.sqlite_engine import SqliteEngine

        return SqliteEngine(prepare(home, create=create))
    if not database.startswith(("postgresql://", "postgres://")):
        raise InputError(
            f"there is no store on a database of the kind {bounded(database.split(':')[0], 40)!r}",
            hint="postgresql://USER:PASSWORD@HOST:PORT/NAME, or leave it out for a file",
        )
    try:
        from hud.store import postgres_database
        from hud.store.postgres_engine import PostgresEngine
    except ImportError as error:
        if (error.name or "").split(".")[0] != "psycopg":
            raise
        raise StoreError(
            "a store on PostgreSQL needs the package psycopg, which is not installed",
            hint="pip install 'hud-python[postgres]'",
        ) from error
    engine = PostgresEngine(database)
    postgres_database.prepare(engine, create=create)
    return engine


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
    "JobCount",
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
