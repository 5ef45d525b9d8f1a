"""Opening a PostgreSQL database: made when empty, migrated when old, refused when newer."""

from __future__ import annotations

import contextlib

import psycopg

from hud._core.errors import StoreError, bounded
from hud.store.ddl_sqlite import REVISIONS
from hud.store.postgres_engine import PostgresEngine


def prepare(engine: PostgresEngine, *, create: bool) -> None:
    """Make sure that the database has the current revision.

    Of several servers that start at once, one migrates and the others wait for it.

    Args:
        create: Make the tables when there are none, and migrate older ones.

    Raises:
        StoreError: when it cannot be used, with the reason.
    """
    try:
        revision = _read_revision(engine)
        if revision == REVISIONS[-1]:
            return
        if revision is not None and revision not in REVISIONS:
            raise StoreError(
                f"the store {engine.where} was written by a newer hud "
                f"(revision {bounded(revision, 40)})",
                hint="upgrade hud or name another database",
            )
        if not create:
            state = "is empty" if revision is None else f"has the older revision {revision}"
            raise StoreError(
                f"the store {engine.where} {state}", hint="open it once with `hud platform up`"
            )
        _upgrade(engine)
    except engine.failures as error:
        raise engine.error(error) from error


def find_revision(engine: PostgresEngine) -> str | None:
    """Return the revision stamped on the database, None when there is none.

    Raises:
        StoreError: when it cannot be read.
    """
    try:
        return _read_revision(engine)
    except engine.failures as error:
        raise engine.error(error) from error


def _read_revision(engine: PostgresEngine) -> str | None:
    with contextlib.closing(engine.connect()) as connection:
        [(table,)] = connection.query("SELECT to_regclass('alembic_version')::text")
        if table is None:
            return None
        found = connection.query("SELECT version_num FROM alembic_version")
        return str(found[0][0]) if found else None


def _upgrade(engine: PostgresEngine) -> None:
    # alembic: only when there is work for it
    from sqlalchemy.exc import SQLAlchemyError

    from hud.store.migrations import upgrade

    try:
        upgrade(lambda: engine.connect_raw(autocommit=False))
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None)
        if isinstance(cause, psycopg.Error):
            raise engine.error(cause) from None
        raise StoreError(
            f"the store {engine.where} cannot be migrated: {type(error).__name__}"
        ) from error
