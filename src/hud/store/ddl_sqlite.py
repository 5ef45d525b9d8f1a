"""The schema as SQLite statements, so that opening a store imports no SQLAlchemy.

Generated from `schema`; a test compares the two.
"""

from __future__ import annotations

REVISIONS: tuple[str, ...] = ("0001", "0002", "0003", "0004", "0005")
"""Every schema revision, oldest first; the last is the one this package reads and writes."""

STATEMENTS = (
    (
        "CREATE TABLE api_keys ( id VARCHAR(32) NOT NULL, team VARCHAR(64) NOT NULL, user_id "
        "VARCHAR(32) NOT NULL, name TEXT NOT NULL, shown VARCHAR(24) NOT NULL, sha256 "
        "VARCHAR(64) NOT NULL, scopes TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at "
        "BIGINT, revoked_at BIGINT, used_at BIGINT, PRIMARY KEY (id) )"
    ),
    "CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (sha256)",
    "CREATE INDEX api_keys_of_team ON api_keys (team, created_at)",
    (
        "CREATE TABLE audit ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, at BIGINT NOT"
        " NULL, actor TEXT NOT NULL, action VARCHAR(48) NOT NULL, subject TEXT, detail TEXT, "
        "PRIMARY KEY (team, id) )"
    ),
    "CREATE INDEX audit_newest ON audit (team, at, id)",
    (
        "CREATE TABLE blobs ( team VARCHAR(64) NOT NULL, sha256 VARCHAR(64) NOT NULL, "
        "size_bytes BIGINT NOT NULL, media_type TEXT NOT NULL, created_at BIGINT NOT NULL, "
        "PRIMARY KEY (team, sha256) ) WITHOUT ROWID"
    ),
    (
        "CREATE TABLE budgets ( team VARCHAR(64) NOT NULL, scope VARCHAR(8) NOT NULL, subject "
        "VARCHAR(64) NOT NULL, max_cost_usd DOUBLE, max_tokens BIGINT, created_at BIGINT NOT "
        "NULL, PRIMARY KEY (team, scope, subject) )"
    ),
    (
        "CREATE TABLE build_lines ( team VARCHAR(64) NOT NULL, build_id VARCHAR(32) NOT NULL, "
        "seq INTEGER NOT NULL, at BIGINT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (team, "
        "build_id, seq) )"
    ),
    (
        "CREATE TABLE builds ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, "
        "environment_id VARCHAR(32), version INTEGER, status VARCHAR(16) NOT NULL, spec TEXT, "
        "manifest TEXT, lock TEXT, image TEXT, uri TEXT, error TEXT, created_at BIGINT NOT "
        "NULL, ended_at BIGINT, actor TEXT, upload_sha256 VARCHAR(64), size_bytes BIGINT, "
        "sealed TEXT, triggered_at BIGINT, started_at BIGINT, worker VARCHAR(64), heard_at "
        "BIGINT, attempts INTEGER DEFAULT '0' NOT NULL, PRIMARY KEY (team, id) )"
    ),
    "CREATE INDEX builds_by_status ON builds (status, triggered_at)",
    "CREATE INDEX builds_of_environment ON builds (team, environment_id, version)",
    (
        "CREATE TABLE cancellations ( team VARCHAR(64) NOT NULL, job_id VARCHAR(32) NOT NULL, "
        "run_id VARCHAR(32) NOT NULL, actor TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY "
        "(team, job_id, run_id) )"
    ),
    (
        "CREATE TABLE debug_spans ( team VARCHAR(64) NOT NULL, run_id VARCHAR(32) NOT NULL, "
        "span_id VARCHAR(32) NOT NULL, name TEXT NOT NULL, started_at BIGINT, ended_at BIGINT, "
        "has_blobs SMALLINT NOT NULL, payload TEXT NOT NULL, PRIMARY KEY (team, run_id, "
        "span_id) )"
    ),
    (
        "CREATE TABLE environments ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, name "
        "TEXT NOT NULL, project_id VARCHAR(32), latest_version INTEGER, created_at BIGINT NOT "
        "NULL, updated_at BIGINT NOT NULL, variables TEXT, PRIMARY KEY (team, id) )"
    ),
    "CREATE UNIQUE INDEX environments_by_name ON environments (team, name)",
    (
        "CREATE TABLE jobs ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, name TEXT NOT "
        "NULL, status VARCHAR(16) NOT NULL, created_at BIGINT NOT NULL, ended_at BIGINT, "
        "group_size INTEGER NOT NULL, taskset TEXT, agent TEXT, model TEXT, runtime TEXT, spec "
        "TEXT, summary TEXT, worked_s DOUBLE, heard_at BIGINT, taskset_id VARCHAR(32), "
        "project_id VARCHAR(32), key_id VARCHAR(32), PRIMARY KEY (team, id) )"
    ),
    "CREATE INDEX jobs_newest ON jobs (team, created_at, id)",
    "CREATE INDEX jobs_of_taskset ON jobs (team, taskset, created_at)",
    (
        "CREATE TABLE leases ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, environment "
        "TEXT NOT NULL, build_id VARCHAR(32) NOT NULL, run_id VARCHAR(32), user_id VARCHAR(32) "
        "NOT NULL, key_id VARCHAR(32), server VARCHAR(32) NOT NULL, state VARCHAR(8) NOT NULL, "
        "reason TEXT, created_at BIGINT NOT NULL, heard_at BIGINT NOT NULL, ended_at BIGINT, "
        "PRIMARY KEY (team, id) )"
    ),
    "CREATE INDEX leases_heard ON leases (state, heard_at)",
    "CREATE INDEX leases_of_team ON leases (team, state)",
    (
        "CREATE TABLE members ( team VARCHAR(64) NOT NULL, user_id VARCHAR(32) NOT NULL, role "
        "VARCHAR(16) NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY (team, user_id) )"
    ),
    (
        "CREATE TABLE models ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, name TEXT "
        "NOT NULL, provider VARCHAR(64) NOT NULL, upstream TEXT NOT NULL, is_trainable SMALLINT"
        " NOT NULL, extra TEXT, created_at BIGINT NOT NULL, PRIMARY KEY (team, id) )"
    ),
    "CREATE UNIQUE INDEX models_by_name ON models (team, name)",
    (
        "CREATE TABLE projects ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, name TEXT "
        "NOT NULL, description TEXT, is_default SMALLINT NOT NULL, created_at BIGINT NOT NULL, "
        "PRIMARY KEY (team, id) )"
    ),
    "CREATE UNIQUE INDEX projects_by_name ON projects (team, name)",
    (
        "CREATE TABLE providers ( team VARCHAR(64) NOT NULL, name VARCHAR(64) NOT NULL, dialect"
        " VARCHAR(16) NOT NULL, base_url TEXT NOT NULL, secret TEXT, created_at BIGINT NOT "
        "NULL, updated_at BIGINT NOT NULL, PRIMARY KEY (team, name) )"
    ),
    (
        "CREATE TABLE publications ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, "
        "taskset TEXT NOT NULL, job_id VARCHAR(32) NOT NULL, title TEXT, actor TEXT NOT NULL, "
        "published_at BIGINT NOT NULL, unpublished_at BIGINT, PRIMARY KEY (team, id) )"
    ),
    "CREATE INDEX publications_of_taskset ON publications (team, taskset)",
    (
        "CREATE TABLE rollout_queue ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, "
        "job_id VARCHAR(32) NOT NULL, state VARCHAR(8) NOT NULL, spec TEXT NOT NULL, user_id "
        "VARCHAR(32) NOT NULL, key_id VARCHAR(32), attempt INTEGER NOT NULL, created_at BIGINT "
        "NOT NULL, not_before BIGINT NOT NULL, lease VARCHAR(32), leased_until BIGINT, "
        "cancel_reason TEXT, ended_at BIGINT, PRIMARY KEY (team, id) )"
    ),
    "CREATE INDEX rollout_queue_leases ON rollout_queue (lease)",
    "CREATE INDEX rollout_queue_next ON rollout_queue (state, team, created_at, id)",
    "CREATE INDEX rollout_queue_of_job ON rollout_queue (team, job_id, state)",
    (
        "CREATE TABLE runs ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, job_id "
        "VARCHAR(32) NOT NULL, task_slug TEXT NOT NULL, task_id TEXT, env TEXT, member INTEGER "
        "NOT NULL, attempt INTEGER NOT NULL, group_id TEXT, model TEXT, runtime TEXT, "
        "task_digest TEXT, status VARCHAR(16) NOT NULL, outcome VARCHAR(16), reward DOUBLE, "
        "stop_reason TEXT, error TEXT, started_at BIGINT NOT NULL, ended_at BIGINT, evaluation "
        "TEXT, prompt_tokens BIGINT DEFAULT '0' NOT NULL, completion_tokens BIGINT DEFAULT '0' "
        "NOT NULL, cached_tokens BIGINT DEFAULT '0' NOT NULL, llm_calls BIGINT DEFAULT '0' NOT "
        "NULL, cost_usd DOUBLE, extra TEXT, turns BIGINT DEFAULT '0' NOT NULL, unpriced_turns "
        "BIGINT DEFAULT '0' NOT NULL, known_cost_usd DOUBLE, parent_id VARCHAR(32), "
        "invalid_reason TEXT, PRIMARY KEY (team, id) )"
    ),
    "CREATE INDEX runs_by_model ON runs (team, model, started_at, id) WHERE model IS NOT NULL",
    (
        "CREATE INDEX runs_by_outcome ON runs (team, outcome, started_at, id) WHERE outcome <> "
        "'graded'"
    ),
    (
        "CREATE INDEX runs_by_status ON runs (team, status, started_at, id) WHERE status <> "
        "'completed'"
    ),
    "CREATE INDEX runs_newest ON runs (team, started_at, id)",
    "CREATE INDEX runs_of_job ON runs (team, job_id, task_slug, member, attempt, id)",
    "CREATE INDEX runs_unfinished ON runs (team, job_id) WHERE ended_at IS NULL",
    (
        "CREATE TABLE sessions ( sha256 VARCHAR(64) NOT NULL, team VARCHAR(64) NOT NULL, "
        "user_id VARCHAR(32) NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, "
        "PRIMARY KEY (sha256) )"
    ),
    (
        "CREATE TABLE sign_ins ( sha256 VARCHAR(64) NOT NULL, kind VARCHAR(8) NOT NULL, status "
        "VARCHAR(16) NOT NULL, team VARCHAR(64), user_id VARCHAR(32), user_code VARCHAR(16), "
        "client_name TEXT, polled_at BIGINT, created_at BIGINT NOT NULL, expires_at BIGINT NOT "
        "NULL, PRIMARY KEY (sha256) )"
    ),
    "CREATE INDEX sign_ins_by_user_code ON sign_ins (user_code)",
    (
        "CREATE TABLE steps ( team VARCHAR(64) NOT NULL, run_id VARCHAR(32) NOT NULL, seq "
        "INTEGER NOT NULL, source TEXT, started_at BIGINT, ended_at BIGINT, has_blobs SMALLINT "
        "NOT NULL, payload TEXT NOT NULL, span_id VARCHAR(32), PRIMARY KEY (team, run_id, seq) "
        ") WITHOUT ROWID"
    ),
    "CREATE UNIQUE INDEX steps_by_span ON steps (team, run_id, span_id) WHERE span_id IS NOT NULL",
    (
        "CREATE TABLE task_versions ( team VARCHAR(64) NOT NULL, taskset_id VARCHAR(32) NOT "
        "NULL, slug TEXT NOT NULL, version INTEGER NOT NULL, env TEXT, task_id TEXT, record "
        "TEXT NOT NULL, digest VARCHAR(64) NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY "
        "(team, taskset_id, slug, version) )"
    ),
    (
        "CREATE TABLE tasks ( team VARCHAR(64) NOT NULL, taskset_id VARCHAR(32) NOT NULL, slug "
        "TEXT NOT NULL, version INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (team,"
        " taskset_id, slug) )"
    ),
    (
        "CREATE TABLE tasksets ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, name TEXT "
        "NOT NULL, project_id VARCHAR(32), created_at BIGINT NOT NULL, updated_at BIGINT NOT "
        "NULL, archived_at BIGINT, PRIMARY KEY (team, id) )"
    ),
    "CREATE UNIQUE INDEX tasksets_by_name ON tasksets (team, name) WHERE archived_at IS NULL",
    (
        "CREATE TABLE teams ( id VARCHAR(64) NOT NULL, uuid VARCHAR(32) NOT NULL, name TEXT NOT"
        " NULL, created_at BIGINT NOT NULL, PRIMARY KEY (id) )"
    ),
    (
        "CREATE TABLE usage ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, at BIGINT NOT"
        " NULL, key_id VARCHAR(32), job_id VARCHAR(32), run_id VARCHAR(32), provider "
        "VARCHAR(64) NOT NULL, model TEXT NOT NULL, dialect VARCHAR(16) NOT NULL, status "
        "INTEGER NOT NULL, prompt_tokens BIGINT DEFAULT '0' NOT NULL, completion_tokens BIGINT "
        "DEFAULT '0' NOT NULL, cached_tokens BIGINT DEFAULT '0' NOT NULL, cost_usd DOUBLE, "
        "is_cached SMALLINT NOT NULL, duration_ms INTEGER, error TEXT, PRIMARY KEY (team, id) )"
    ),
    "CREATE INDEX usage_newest ON usage (team, at, id)",
    "CREATE INDEX usage_of_job ON usage (team, job_id)",
    "CREATE INDEX usage_of_key ON usage (team, key_id)",
    "CREATE INDEX usage_of_run ON usage (team, run_id)",
    (
        "CREATE TABLE users ( id VARCHAR(32) NOT NULL, name TEXT NOT NULL, email TEXT, "
        "created_at BIGINT NOT NULL, PRIMARY KEY (id) )"
    ),
    "CREATE UNIQUE INDEX users_by_name ON users (name)",
)

STAMP = (
    (
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    ),
    f"INSERT INTO alembic_version (version_num) VALUES ('{REVISIONS[-1]}')",
)
