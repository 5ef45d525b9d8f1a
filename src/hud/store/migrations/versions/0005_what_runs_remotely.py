"""Rollouts that a platform runs itself, and environments that it lends out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the tables; nothing that was recorded changes."""
    # Text is sorted and compared by its bytes, as everywhere else.
    plain = "C" if op.get_bind().dialect.name == "postgresql" else None

    def words(length: int | None = None) -> sa.types.TypeEngine[str]:
        return sa.Text(collation=plain) if length is None else sa.String(length, collation=plain)

    op.create_table(
        "leases",
        sa.Column("team", words(64), nullable=False),
        sa.Column("id", words(32), nullable=False),
        sa.Column("environment", words(), nullable=False),
        sa.Column("build_id", words(32), nullable=False),
        sa.Column("run_id", words(32)),
        sa.Column("user_id", words(32), nullable=False),
        sa.Column("key_id", words(32)),
        sa.Column("server", words(32), nullable=False),
        sa.Column("state", words(8), nullable=False),
        sa.Column("reason", words()),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("heard_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index("leases_heard", "leases", ["state", "heard_at"])
    op.create_index("leases_of_team", "leases", ["team", "state"])
    op.create_table(
        "rollout_queue",
        sa.Column("team", words(64), nullable=False),
        sa.Column("id", words(32), nullable=False),
        sa.Column("job_id", words(32), nullable=False),
        sa.Column("state", words(8), nullable=False),
        sa.Column("spec", words(), nullable=False),
        sa.Column("user_id", words(32), nullable=False),
        sa.Column("key_id", words(32)),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("lease", words(32)),
        sa.Column("leased_until", sa.BigInteger),
        sa.Column("cancel_reason", words()),
        sa.Column("ended_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index("rollout_queue_leases", "rollout_queue", ["lease"])
    op.create_index("rollout_queue_next", "rollout_queue", ["state", "team", "created_at", "id"])
    op.create_index("rollout_queue_of_job", "rollout_queue", ["team", "job_id", "state"])
