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
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from hud.store.schema_platform import (
    define_people,
    define_registry,
    define_remote,
    define_serving,
)

metadata = MetaData()


def _partial(name: str, where: str, *columns: str, unique: bool = False) -> Index:
    """Return an index of the rows of which `where` is true."""
    condition = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


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
    # Null for a job worked on beside this store; else when its reporter was last heard.
    Column("heard_at", BigInteger),
    Column("taskset_id", String(32)),
    Column("project_id", String(32)),
    # Who reported it: the id of a key.
    Column("key_id", String(32)),
    Index("jobs_newest", "team", "created_at", "id"),
    Index("jobs_of_taskset", "team", "taskset", "created_at"),
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
    Column("parent_id", String(32)),
    # Why it must not count, said by a person; null for a run that counts.
    Column("invalid_reason", Text),
    # For listing, newest first, what may be rare among a million. Each costs every run some µs.
    Index("runs_newest", "team", "started_at", "id"),
    _partial("runs_by_model", "model IS NOT NULL", "team", "model", "started_at", "id"),
    _partial("runs_by_status", "status <> 'completed'", "team", "status", "started_at", "id"),
    _partial("runs_by_outcome", "outcome <> 'graded'", "team", "outcome", "started_at", "id"),
    _partial("runs_unfinished", "ended_at IS NULL", "team", "job_id"),
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
    # The span a step was reported in, by which one that comes again is known.
    Column("span_id", String(32)),
    _partial("steps_by_span", "span_id IS NOT NULL", "team", "run_id", "span_id", unique=True),
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

define_people(metadata)
define_registry(metadata)
define_serving(metadata)
define_remote(metadata)


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
