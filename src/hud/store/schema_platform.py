"""The tables only a platform uses: who may do what, what is served, what it cost.

They are in every store, so that a server opens the one that evals recorded into as it is.
Times are microseconds since the epoch; JSON is kept as text; a flag is 0 or 1.
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


def _team() -> Column[str]:
    return Column("team", String(64), primary_key=True)


def _id(name: str = "id", length: int = 32) -> Column[str]:
    return Column(name, String(length), primary_key=True)


def _moment(name: str, *, required: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=not required)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def define_people(metadata: MetaData) -> None:
    """Teams, their members, and what they sign in with."""
    Table(
        "teams",
        metadata,
        _id(length=64),
        Column("uuid", String(32), nullable=False),
        Column("name", Text, nullable=False),
        _moment("created_at", required=True),
    )
    Table(
        "users",
        metadata,
        _id(),
        Column("name", Text, nullable=False),
        Column("email", Text),
        _moment("created_at", required=True),
        Index("users_by_name", "name", unique=True),
    )
    Table(
        "members",
        metadata,
        _team(),
        _id("user_id"),
        Column("role", String(16), nullable=False),
        _moment("created_at", required=True),
    )
    Table(
        "api_keys",
        metadata,
        _id(),
        Column("team", String(64), nullable=False),
        Column("user_id", String(32), nullable=False),
        Column("name", Text, nullable=False),
        # What is shown of it later, and the SHA-256 of the whole.
        Column("shown", String(24), nullable=False),
        Column("sha256", String(64), nullable=False),
        Column("scopes", Text, nullable=False),
        _moment("created_at", required=True),
        _moment("expires_at"),
        _moment("revoked_at"),
        _moment("used_at"),
        Index("api_keys_by_hash", "sha256", unique=True),
        Index("api_keys_of_team", "team", "created_at"),
    )
    Table(
        "sign_ins",
        metadata,
        # The SHA-256 of the one-time code of a link, or of a device code.
        _id("sha256", 64),
        Column("kind", String(8), nullable=False),
        Column("status", String(16), nullable=False),
        Column("team", String(64)),
        Column("user_id", String(32)),
        # What a person types to confirm a device, and what the device calls itself.
        Column("user_code", String(16)),
        Column("client_name", Text),
        _moment("polled_at"),
        _moment("created_at", required=True),
        _moment("expires_at", required=True),
        Index("sign_ins_by_user_code", "user_code"),
    )
    Table(
        "sessions",
        metadata,
        _id("sha256", 64),
        Column("team", String(64), nullable=False),
        Column("user_id", String(32), nullable=False),
        _moment("created_at", required=True),
        _moment("expires_at", required=True),
    )
    Table(
        "audit",
        metadata,
        _team(),
        _id(),
        _moment("at", required=True),
        Column("actor", Text, nullable=False),
        Column("action", String(48), nullable=False),
        Column("subject", Text),
        Column("detail", Text),
        Index("audit_newest", "team", "at", "id"),
    )


def define_registry(metadata: MetaData) -> None:
    """Projects, environments with their builds, tasksets with every version of their tasks."""
    Table(
        "projects",
        metadata,
        _team(),
        _id(),
        Column("name", Text, nullable=False),
        Column("description", Text),
        Column("is_default", SmallInteger, nullable=False),
        _moment("created_at", required=True),
        Index("projects_by_name", "team", "name", unique=True),
    )
    Table(
        "environments",
        metadata,
        _team(),
        _id(),
        Column("name", Text, nullable=False),
        Column("project_id", String(32)),
        Column("latest_version", Integer),
        _moment("created_at", required=True),
        _moment("updated_at", required=True),
        # What it is run with, as JSON, encrypted with the platform's own key; null for nothing.
        Column("variables", Text),
        Index("environments_by_name", "team", "name", unique=True),
    )
    Table(
        "builds",
        metadata,
        _team(),
        _id(),
        Column("environment_id", String(32)),
        Column("version", Integer),
        Column("status", String(16), nullable=False),
        Column("spec", Text),
        Column("manifest", Text),
        Column("lock", Text),
        Column("image", Text),
        Column("uri", Text),
        Column("error", Text),
        _moment("created_at", required=True),
        _moment("ended_at"),
        # Who asked for it; the SHA-256 of what lets its context be uploaded once.
        Column("actor", Text),
        Column("upload_sha256", String(64)),
        Column("size_bytes", BigInteger),
        # What only the build may know, encrypted; null once it has ended.
        Column("sealed", Text),
        _moment("triggered_at"),
        _moment("started_at"),
        # The server that builds it, when that was last heard of, and how often it was begun.
        Column("worker", String(64)),
        _moment("heard_at"),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Index("builds_of_environment", "team", "environment_id", "version"),
        Index("builds_by_status", "status", "triggered_at"),
    )
    Table(
        "build_lines",
        metadata,
        _team(),
        _id("build_id"),
        Column("seq", Integer, primary_key=True, autoincrement=False),
        _moment("at", required=True),
        Column("text", Text, nullable=False),
    )
    Table(
        "tasksets",
        metadata,
        _team(),
        _id(),
        Column("name", Text, nullable=False),
        Column("project_id", String(32)),
        _moment("created_at", required=True),
        _moment("updated_at", required=True),
        # When it was put away; its name may be taken again then.
        _moment("archived_at"),
        Index(
            "tasksets_by_name",
            *("team", "name"),
            unique=True,
            sqlite_where=text("archived_at IS NULL"),
            postgresql_where=text("archived_at IS NULL"),
        ),
    )
    Table(
        "tasks",
        metadata,
        _team(),
        _id("taskset_id"),
        Column("slug", Text, primary_key=True),
        Column("version", Integer, nullable=False),
        # Where it stands in its taskset: the order in which tasks were first uploaded.
        Column("position", Integer, nullable=False),
    )
    Table(
        "task_versions",
        metadata,
        _team(),
        _id("taskset_id"),
        Column("slug", Text, primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("env", Text),
        Column("task_id", Text),
        # The row as it was uploaded, and the SHA-256 of its canonical JSON.
        Column("record", Text, nullable=False),
        Column("digest", String(64), nullable=False),
        _moment("created_at", required=True),
    )
    Table(
        "publications",
        metadata,
        _team(),
        _id(),
        Column("taskset", Text, nullable=False),
        Column("job_id", String(32), nullable=False),
        Column("title", Text),
        Column("actor", Text, nullable=False),
        _moment("published_at", required=True),
        _moment("unpublished_at"),
        Index("publications_of_taskset", "team", "taskset"),
    )


def define_serving(metadata: MetaData) -> None:
    """Providers of models, what they are asked for, and what that costs."""
    Table(
        "providers",
        metadata,
        _team(),
        Column("name", String(64), primary_key=True),
        Column("dialect", String(16), nullable=False),
        Column("base_url", Text, nullable=False),
        # Encrypted with the platform's own key, which is in no database; null for none.
        Column("secret", Text),
        _moment("created_at", required=True),
        _moment("updated_at", required=True),
    )
    Table(
        "models",
        metadata,
        _team(),
        _id(),
        # What a client asks for, and what the provider is asked for in its place.
        Column("name", Text, nullable=False),
        Column("provider", String(64), nullable=False),
        Column("upstream", Text, nullable=False),
        Column("is_trainable", SmallInteger, nullable=False),
        Column("extra", Text),
        _moment("created_at", required=True),
        Index("models_by_name", "team", "name", unique=True),
    )
    Table(
        "usage",
        metadata,
        _team(),
        _id(),
        _moment("at", required=True),
        Column("key_id", String(32)),
        Column("job_id", String(32)),
        Column("run_id", String(32)),
        Column("provider", String(64), nullable=False),
        Column("model", Text, nullable=False),
        Column("dialect", String(16), nullable=False),
        Column("status", Integer, nullable=False),
        _count("prompt_tokens"),
        _count("completion_tokens"),
        _count("cached_tokens"),
        # Null when the price is not known; 1 when the answer came from the cache.
        Column("cost_usd", Double),
        Column("is_cached", SmallInteger, nullable=False),
        Column("duration_ms", Integer),
        Column("error", Text),
        Index("usage_newest", "team", "at", "id"),
        Index("usage_of_run", "team", "run_id"),
        Index("usage_of_job", "team", "job_id"),
        Index("usage_of_key", "team", "key_id"),
    )
    Table(
        "budgets",
        metadata,
        _team(),
        # team, key, job or run, and which of them; the team's own is "".
        Column("scope", String(8), primary_key=True),
        Column("subject", String(64), primary_key=True),
        Column("max_cost_usd", Double),
        Column("max_tokens", BigInteger),
        _moment("created_at", required=True),
    )
    Table(
        "cancellations",
        metadata,
        _team(),
        _id("job_id"),
        # "" for the whole job.
        _id("run_id"),
        Column("actor", Text, nullable=False),
        _moment("at", required=True),
    )
    Table(
        "debug_spans",
        metadata,
        _team(),
        _id("run_id"),
        _id("span_id"),
        Column("name", Text, nullable=False),
        _moment("started_at"),
        _moment("ended_at"),
        # As in `steps`.
        Column("has_blobs", SmallInteger, nullable=False),
        Column("payload", Text, nullable=False),
    )


def define_remote(metadata: MetaData) -> None:
    """Rollouts that wait for a worker or have one, and environments that are lent out."""
    Table(
        "rollout_queue",
        metadata,
        _team(),
        # The run's own id: each is here once, however often it is submitted.
        _id(),
        Column("job_id", String(32), nullable=False),
        # queued, leased or done.
        Column("state", String(8), nullable=False),
        # What to run, as JSON, and on whose behalf.
        Column("spec", Text, nullable=False),
        Column("user_id", String(32), nullable=False),
        Column("key_id", String(32)),
        Column("attempt", Integer, nullable=False),
        _moment("created_at", required=True),
        # A further attempt waits until then.
        _moment("not_before", required=True),
        # The worker's token, and until when it is believed to live.
        Column("lease", String(32)),
        _moment("leased_until"),
        # Why it is to end, once somebody asked for that.
        Column("cancel_reason", Text),
        _moment("ended_at"),
        Index("rollout_queue_next", "state", "team", "created_at", "id"),
        Index("rollout_queue_of_job", "team", "job_id", "state"),
        Index("rollout_queue_leases", "lease"),
    )
    Table(
        "leases",
        metadata,
        _team(),
        _id(),
        Column("environment", Text, nullable=False),
        Column("build_id", String(32), nullable=False),
        Column("run_id", String(32)),
        Column("user_id", String(32), nullable=False),
        Column("key_id", String(32)),
        # Which server process holds it.
        Column("server", String(32), nullable=False),
        # starting, ready or ended.
        Column("state", String(8), nullable=False),
        # Why it ended.
        Column("reason", Text),
        _moment("created_at", required=True),
        _moment("heard_at", required=True),
        _moment("ended_at"),
        Index("leases_of_team", "team", "state"),
        Index("leases_heard", "state", "heard_at"),
    )
