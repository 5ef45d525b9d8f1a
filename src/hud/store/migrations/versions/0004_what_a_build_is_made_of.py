"""Builds that are made here: their contexts, who makes them, what they say, what they may know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns and the table; builds that are known already stay as they are."""
    op.add_column("environments", sa.Column("variables", sa.Text))
    for column in (
        sa.Column("actor", sa.Text),
        sa.Column("upload_sha256", sa.String(64)),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("sealed", sa.Text),
        sa.Column("triggered_at", sa.BigInteger),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("worker", sa.String(64)),
        sa.Column("heard_at", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    ):
        op.add_column("builds", column)
    op.create_index("builds_by_status", "builds", ["status", "triggered_at"])
    op.create_table(
        "build_lines",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("build_id", sa.String(32), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("team", "build_id", "seq"),
    )
    if op.get_bind().dialect.name == "postgresql":
        _compare_bytes()


def _compare_bytes() -> None:
    """Have PostgreSQL compare the new texts as SQLite does, and as those before them."""
    columns = {
        "environments": ("variables TEXT",),
        "builds": (
            *("actor TEXT", "upload_sha256 VARCHAR(64)", "sealed TEXT", "worker VARCHAR(64)"),
        ),
        "build_lines": ("team VARCHAR(64)", "build_id VARCHAR(32)", "text TEXT"),
    }
    for table, added in columns.items():
        for each in added:
            column, kind = each.split()
            op.execute(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE {kind} COLLATE "C"')
