"""What a store holds and where, and bringing an older one up to date."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hud._core.paths import hud_home, make_home
from hud.store import database as sqlite_database
from hud.store.base import Store
from hud.store.engine import Connection
from hud.store.opening import postgres_engine
from hud.store.sqlite_engine import SqliteEngine
from hud.store.upkeep.parts import parts_of

_KINDS = ("jobs", "runs", "steps", "debug_spans")


@dataclass(frozen=True, slots=True)
class StoreState:
    """What a store holds.

    Attributes:
        database: Where its rows are, without a password.
        blobs_in: Where its blobs are.
        revision: The revision of its schema.
        size_bytes: The size of the database.
        rows: How many there are of each kind.
        blobs: How many blobs teams have, the same of two teams counted twice.
        blob_bytes: Their size.
    """

    database: str
    blobs_in: str
    revision: str
    size_bytes: int
    rows: dict[str, int]
    blobs: int
    blob_bytes: int


def read_state(store: Store) -> StoreState:
    """Return what the store holds; counting takes about a second for ten million rows.

    Raises:
        StoreError: when it cannot be read.
    """
    parts = parts_of(store)
    is_sqlite = isinstance(parts.engine, SqliteEngine)

    def read(connection: Connection) -> StoreState:
        [(revision,)] = connection.query("SELECT version_num FROM alembic_version")
        rows = {kind: connection.query(f"SELECT count(*) FROM {kind}")[0][0] for kind in _KINDS}
        [(blobs, blob_bytes)] = connection.query(
            "SELECT count(*), COALESCE(sum(size_bytes), 0) FROM blobs"
        )
        if is_sqlite:
            [(size,)] = connection.query(
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            )
        else:
            [(size,)] = connection.query("SELECT pg_database_size(current_database())")
        return StoreState(
            database=parts.engine.where,
            blobs_in=parts.blobs.where,
            revision=str(revision),
            size_bytes=int(size),
            rows=rows,
            blobs=int(blobs),
            blob_bytes=int(blob_bytes),
        )

    return parts.pool.read(read)


def migrate(home: Path | None = None, *, database: str | None = None) -> tuple[str | None, str]:
    """Bring a store up to date; return its revision before (None: it was empty) and now.

    Of several processes that do it at once, one does.

    Raises:
        StoreError: when it cannot be used, or was written by a newer hud.
        InputError: when the URL of the database cannot be understood.
    """
    if database is not None:
        engine = postgres_engine(database)
        from hud.store import postgres_database  # the driver: only where it is used

        before = postgres_database.find_revision(engine)
        postgres_database.prepare(engine, create=True)
        return before, postgres_database.find_revision(engine) or ""
    where = make_home(home) if home is not None else hud_home()
    before = sqlite_database.find_revision(where)
    sqlite_database.prepare(where, create=True)
    return before, sqlite_database.find_revision(where) or ""
