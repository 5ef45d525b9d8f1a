"""Everything a platform keeps beside jobs, runs and steps; and how those are reported to it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TABLES = (
    *("jobs", "runs", "steps", "blobs"),
    *("teams", "users", "members", "api_keys", "sign_ins", "sessions", "audit"),
    *("projects", "environments", "builds", "tasksets", "tasks", "task_versions", "publications"),
    *("providers", "models", "usage", "budgets", "cancellations", "debug_spans"),
)


def upgrade() -> None:
    """Add the tables and columns; nothing that was recorded changes."""
    _people()
    _registry()
    _serving()
    _columns()
    if op.get_bind().dialect.name == "postgresql":
        _compare_bytes()


def _people() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("shown", sa.String(24), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("api_keys_by_hash", "api_keys", ["sha256"], unique=True)
    op.create_index("api_keys_of_team", "api_keys", ["team", "created_at"])
    op.create_table(
        "audit",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.String(48), nullable=False),
        sa.Column("subject", sa.Text),
        sa.Column("detail", sa.Text),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index("audit_newest", "audit", ["team", "at", "id"])
    op.create_table(
        "members",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("team", "user_id"),
    )
    op.create_table(
        "sessions",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )
    op.create_table(
        "sign_ins",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("team", sa.String(64)),
        sa.Column("user_id", sa.String(32)),
        sa.Column("user_code", sa.String(16)),
        sa.Column("client_name", sa.Text),
        sa.Column("polled_at", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )
    op.create_index("sign_ins_by_user_code", "sign_ins", ["user_code"])
    op.create_table(
        "teams",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("uuid", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("users_by_name", "users", ["name"], unique=True)


def _registry() -> None:
    op.create_table(
        "builds",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("environment_id", sa.String(32)),
        sa.Column("version", sa.Integer),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("spec", sa.Text),
        sa.Column("manifest", sa.Text),
        sa.Column("lock", sa.Text),
        sa.Column("image", sa.Text),
        sa.Column("uri", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index("builds_of_environment", "builds", ["team", "environment_id", "version"])
    op.create_table(
        "environments",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("project_id", sa.String(32)),
        sa.Column("latest_version", sa.Integer),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index("environments_by_name", "environments", ["team", "name"], unique=True)
    op.create_table(
        "projects",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("is_default", sa.SmallInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index("projects_by_name", "projects", ["team", "name"], unique=True)
    op.create_table(
        "publications",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("taskset", sa.Text, nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("title", sa.Text),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("published_at", sa.BigInteger, nullable=False),
        sa.Column("unpublished_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index("publications_of_taskset", "publications", ["team", "taskset"])
    op.create_table(
        "task_versions",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("taskset_id", sa.String(32), nullable=False),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("env", sa.Text),
        sa.Column("task_id", sa.Text),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("team", "taskset_id", "slug", "version"),
    )
    op.create_table(
        "tasks",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("taskset_id", sa.String(32), nullable=False),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("team", "taskset_id", "slug"),
    )
    op.create_table(
        "tasksets",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("project_id", sa.String(32)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("archived_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index(
        "tasksets_by_name",
        "tasksets",
        ["team", "name"],
        unique=True,
        sqlite_where=sa.text("archived_at IS NULL"),
        postgresql_where=sa.text("archived_at IS NULL"),
    )


def _serving() -> None:
    op.create_table(
        "budgets",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(8), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("max_cost_usd", sa.Double),
        sa.Column("max_tokens", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("team", "scope", "subject"),
    )
    op.create_table(
        "cancellations",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("team", "job_id", "run_id"),
    )
    op.create_table(
        "debug_spans",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("span_id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("has_blobs", sa.SmallInteger, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("team", "run_id", "span_id"),
    )
    op.create_table(
        "models",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("upstream", sa.Text, nullable=False),
        sa.Column("is_trainable", sa.SmallInteger, nullable=False),
        sa.Column("extra", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index("models_by_name", "models", ["team", "name"], unique=True)
    op.create_table(
        "providers",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("dialect", sa.String(16), nullable=False),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("team", "name"),
    )
    op.create_table(
        "usage",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.String(32)),
        sa.Column("job_id", sa.String(32)),
        sa.Column("run_id", sa.String(32)),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("dialect", sa.String(16), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("cost_usd", sa.Double),
        sa.Column("is_cached", sa.SmallInteger, nullable=False),
        sa.Column("duration_ms", sa.Integer),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("team", "id"),
    )
    op.create_index("usage_newest", "usage", ["team", "at", "id"])
    op.create_index("usage_of_job", "usage", ["team", "job_id"])
    op.create_index("usage_of_key", "usage", ["team", "key_id"])
    op.create_index("usage_of_run", "usage", ["team", "run_id"])


def _columns() -> None:
    op.add_column("jobs", sa.Column("heard_at", sa.BigInteger))
    op.add_column("jobs", sa.Column("taskset_id", sa.String(32)))
    op.add_column("jobs", sa.Column("project_id", sa.String(32)))
    op.add_column("jobs", sa.Column("key_id", sa.String(32)))
    op.create_index("jobs_of_taskset", "jobs", ["team", "taskset", "created_at"])
    op.add_column("runs", sa.Column("parent_id", sa.String(32)))
    op.add_column("runs", sa.Column("invalid_reason", sa.Text))
    op.create_index("runs_newest", "runs", ["team", "started_at", "id"])
    for name, where, columns in (
        ("model", "model IS NOT NULL", ["team", "model", "started_at", "id"]),
        ("status", "status <> 'completed'", ["team", "status", "started_at", "id"]),
        ("outcome", "outcome <> 'graded'", ["team", "outcome", "started_at", "id"]),
    ):
        _partial_index(f"runs_by_{name}", "runs", columns, where)
    _partial_index("runs_unfinished", "runs", ["team", "job_id"], "ended_at IS NULL")
    op.add_column("steps", sa.Column("span_id", sa.String(32)))
    spans = ["team", "run_id", "span_id"]
    _partial_index("steps_by_span", "steps", spans, "span_id IS NOT NULL", unique=True)


def _partial_index(
    name: str, table: str, columns: list[str], where: str, *, unique: bool = False
) -> None:
    condition = sa.text(where)
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def _compare_bytes() -> None:
    """Sort and compare text by its bytes, as SQLite does, whatever the database's own rules are."""
    found = op.get_bind().execute(
        sa.text(
            "SELECT table_name, column_name, character_maximum_length "
            "FROM information_schema.columns WHERE table_schema = current_schema() "
            "AND data_type IN ('text', 'character varying') AND table_name = ANY (:tables)"
        ),
        {"tables": list(_TABLES)},
    )
    for table, column, length in found.fetchall():
        kind = "TEXT" if length is None else f"VARCHAR({length})"
        op.execute(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE {kind} COLLATE "C"')
