"""The way in: a file and a folder on this machine, or a database server and an object store.

What a place needs is imported when such a place is named, so that an embedded store opens fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hud._core.errors import InputError, StoreError, bounded
from hud._core.paths import hud_home, make_home
from hud.store.base import Store
from hud.store.blobs import BlobFolder, Blobs
from hud.store.engine import Engine

if TYPE_CHECKING:
    from hud.store.postgres_engine import PostgresEngine

BLOB_FOLDER = "blobs"


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
        create: Make the folder and the store when they are missing, and migrate an older one.
            False also accepts a store that can only be read.
        database: A `postgresql://` URL, in place of the file in `home`.
        blobs: Where long texts and media are, in place of a folder in `home`: a URL that fsspec
            understands, such as `s3://BUCKET/PREFIX`, or the path of another folder.

    Raises:
        StoreError: when the store cannot be used, with the reason.
        InputError: when a URL cannot be understood.
    """
    from hud.store.sql_store import SqlStore

    where = home.absolute() if home is not None else hud_home(create=False)
    if (database is None or blobs is None) and (create or where.exists()):
        make_home(where)
    engine = _engine(where, database, create=create)
    return SqlStore(engine, open_blobs(where, blobs))


def open_blobs(home: Path, url: str | None) -> Blobs:
    """Return where the blobs of a store are; see `open_store`."""
    if url is None:
        return BlobFolder(home / BLOB_FOLDER)
    scheme, separator, path = url.partition("://")
    if not separator or scheme == "file":
        return BlobFolder(Path(path if separator else url).absolute())
    from hud.store.remote_blobs import RemoteBlobs

    return RemoteBlobs(url)


def postgres_engine(url: str) -> PostgresEngine:
    """Return the database that `url` names, whatever is in it.

    Raises:
        StoreError: when its driver is not installed.
        InputError: when `url` cannot be understood.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        kind = bounded(url.split(":")[0], 40)
        raise InputError(
            f"there is no store on a database of the kind {kind!r}",
            hint="postgresql://USER:PASSWORD@HOST:PORT/NAME, or leave it out for a file",
        )
    try:
        from hud.store.postgres_engine import PostgresEngine
    except ImportError as error:
        if (error.name or "").split(".")[0] != "psycopg":
            raise
        raise StoreError(
            "a store on PostgreSQL needs the package psycopg, which is not installed",
            hint="pip install 'hud-python[postgres]'",
        ) from error
    return PostgresEngine(url)


def _engine(home: Path, database: str | None, *, create: bool) -> Engine:
    if database is None:
        from hud.store.database import prepare as prepare_file
        from hud.store.sqlite_engine import SqliteEngine

        return SqliteEngine(prepare_file(home, create=create))
    engine = postgres_engine(database)
    from hud.store.postgres_database import prepare as prepare_database

    prepare_database(engine, create=create)
    return engine
