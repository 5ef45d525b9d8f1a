"""The tables of the store, in SQLAlchemy Core with types every database has.

The one definition: migrations are tested against it, and `ddl_sqlite` is generated from it so
that opening a store needs no SQLAlchemy. Everything is keyed by (team, id).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("team", String(64), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("group_size", Integer, nullable=False),
    Column("taskset", Text),
    Column("agent", Text),
    Column("model", Text),
    Column("runtime", Text),
    Column("spec", Text),
    # Counts of an ended job as JSON; null whenever one of its runs may have changed since.
    Column("summary", Text),
    # Seconds it was worked on, when it ended last.
    Column("worked_s", Double),
    Index("jobs_newest", "team", "created_at", "id"),
)

runs = Table(
    "runs",
    metadata,
    Column("team", String(64), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("job_id", String(32), nullable=False),
    Column("task_slug", Text, nullable=False),
    Column("task_id", Text),
    Column("env", Text),
    Column("member", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("group_id", Text),
    Column("model", Text),
    Column("runtime", Text),
    Column("task_digest", Text),
    Column("status", String(16), nullable=False),
    Column("outcome", String(16)),
    Column("reward", Double),
    Column("stop_reason", Text),
    Column("error", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("evaluation", Text),
    Column("prompt_tokens", BigInteger, nullable=False, server_default="0"),
    Column("completion_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("llm_calls", BigInteger, nullable=False, server_default="0"),
    Column("cost_usd", Double),
    Column("extra", Text),
    # Model turns, those of them whose price is unknown, and what the others cost.
    Column("turns", BigInteger, nullable=False, server_default="0"),
    Column("unpriced_turns", BigInteger, nullable=False, server_default="0"),
    Column("known_cost_usd", Double),
    Index("runs_of_job", "team", "job_id", "task_slug", "member", "attempt", "id"),
)

steps = Table(
    "steps",
    metadata,
    Column("team", String(64), primary_key=True),
    Column("run_id", String(32), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("source", Text),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    # 1 when `payload` was rewritten to point at blobs; 0 when it stands as it was given.
    Column("has_blobs", SmallInteger, nullable=False),
    Column("payload", Text, nullable=False),
    sqlite_with_rowid=False,
)

blobs = Table(
    "blobs",
    metadata,
    Column("team", String(64), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def sqlite_ddl() -> list[str]:
    """Return the statements that create the whole schema on an empty SQLite file."""
    dialect = sqlite.dialect()
    statements: list[str] = []
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        statements.extend(
            str(CreateIndex(index).compile(dialect=dialect))
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        )
    return [" ".join(statement.split()) for statement in statements]
