"""How Alembic reaches the database it was configured for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import context
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from hud.store.schema import metadata

_ONE_AT_A_TIME = 0x68756400_00000003


def _sqlite(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)

    # Python's sqlite3 would commit before each DDL statement; these two keep a migration one
    # transaction.
    @event.listens_for(engine, "connect")
    def _leave_transactions_to_us(connection: Any, record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


target = context.config.attributes["target"]
is_sqlite = isinstance(target, Path)
engine = (
    _sqlite(target)
    if isinstance(target, Path)
    else create_engine("postgresql+psycopg://", creator=target, poolclass=NullPool)
)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=is_sqlite)
    with context.begin_transaction():
        if not is_sqlite:
            # Whoever waits here finds the work done.
            lock = text("SELECT pg_advisory_xact_lock(:number)")
            connection.execute(lock, {"number": _ONE_AT_A_TIME})
        context.run_migrations()
engine.dispose()
