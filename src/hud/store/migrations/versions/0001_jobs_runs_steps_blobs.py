"""Jobs, runs, steps and blobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables on an empty database."""
    _jobs()
    _runs()
    _steps_and_blobs()


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("group_size", sa.Integer, nullable=False),
        sa.Column("taskset", sa.Text),
        sa.Column("agent", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("runtime", sa.Text),
        sa.Column("spec", sa.Text),
        sa.Column("summary", sa.Text),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index("jobs_newest", "jobs", ["team", "created_at", "id"])


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("task_slug", sa.Text, nullable=False),
        sa.Column("task_id", sa.Text),
        sa.Column("env", sa.Text),
        sa.Column("member", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("group_id", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("runtime", sa.Text),
        sa.Column("task_digest", sa.Text),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("reward", sa.Double),
        sa.Column("stop_reason", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("evaluation", sa.Text),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("llm_calls", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("cost_usd", sa.Double),
        sa.Column("extra", sa.Text),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index(
        "runs_of_job", "runs", ["team", "job_id", "task_slug", "member", "attempt", "id"]
    )


def _steps_and_blobs() -> None:
    op.create_table(
        "steps",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("source", sa.Text),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("has_blobs", sa.SmallInteger, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("team", "run_id", "seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blobs",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("team", "sha256"),
        sqlite_with_rowid=False,
    )
