"""How Alembic reaches the database it was configured for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import context
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from hud.store.schema import metadata

path: Path = context.config.attributes["path"]
engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)


# Python's sqlite3 would commit before each DDL statement; these two keep a migration one
# transaction.
@event.listens_for(engine, "connect")
def _leave_transactions_to_us(connection: Any, record: object) -> None:
    connection.isolation_level = None


@event.listens_for(engine, "begin")
def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
