"""What a job used: seconds worked, a run's model turns, and their cost as far as it is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; what was recorded before says as much as its calls and cost do."""
    op.add_column("jobs", sa.Column("worked_s", sa.Double))
    count = sa.BigInteger()
    op.add_column("runs", sa.Column("turns", count, nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("unpriced_turns", count, nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("known_cost_usd", sa.Double))
    op.execute(
        "UPDATE runs SET turns = llm_calls, known_cost_usd = cost_usd, "
        "unpriced_turns = CASE WHEN cost_usd IS NULL THEN llm_calls ELSE 0 END"
    )
