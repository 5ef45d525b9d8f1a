"""The schema as SQLite statements, so that opening a store imports no SQLAlchemy.

Generated from `schema`; a test compares the two.
"""

from __future__ import annotations

REVISIONS: tuple[str, ...] = ("0001", "0002")
"""Every schema revision, oldest first; the last is the one this package reads and writes."""

STATEMENTS = (
    (
        "CREATE TABLE blobs ( team VARCHAR(64) NOT NULL, sha256 VARCHAR(64) NOT NULL, size_bytes "
        "BIGINT NOT NULL, media_type TEXT NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY "
        "(team, sha256) ) WITHOUT ROWID"
    ),
    (
        "CREATE TABLE jobs ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, name TEXT NOT "
        "NULL, status VARCHAR(16) NOT NULL, created_at BIGINT NOT NULL, ended_at BIGINT, "
        "group_size INTEGER NOT NULL, taskset TEXT, agent TEXT, model TEXT, runtime TEXT, spec "
        "TEXT, summary TEXT, worked_s DOUBLE, PRIMARY KEY (team, id) )"
    ),
    "CREATE INDEX jobs_newest ON jobs (team, created_at, id)",
    (
        "CREATE TABLE runs ( team VARCHAR(64) NOT NULL, id VARCHAR(32) NOT NULL, job_id "
        "VARCHAR(32) NOT NULL, task_slug TEXT NOT NULL, task_id TEXT, env TEXT, member INTEGER "
        "NOT NULL, attempt INTEGER NOT NULL, group_id TEXT, model TEXT, runtime TEXT, task_digest "
        "TEXT, status VARCHAR(16) NOT NULL, outcome VARCHAR(16), reward DOUBLE, stop_reason TEXT, "
        "error TEXT, started_at BIGINT NOT NULL, ended_at BIGINT, evaluation TEXT, prompt_tokens "
        "BIGINT DEFAULT '0' NOT NULL, completion_tokens BIGINT DEFAULT '0' NOT NULL, "
        "cached_tokens BIGINT DEFAULT '0' NOT NULL, llm_calls BIGINT DEFAULT '0' NOT NULL, "
        "cost_usd DOUBLE, extra TEXT, turns BIGINT DEFAULT '0' NOT NULL, unpriced_turns BIGINT "
        "DEFAULT '0' NOT NULL, known_cost_usd DOUBLE, PRIMARY KEY (team, id) )"
    ),
    "CREATE INDEX runs_of_job ON runs (team, job_id, task_slug, member, attempt, id)",
    (
        "CREATE TABLE steps ( team VARCHAR(64) NOT NULL, run_id VARCHAR(32) NOT NULL, seq INTEGER "
        "NOT NULL, source TEXT, started_at BIGINT, ended_at BIGINT, has_blobs SMALLINT NOT NULL, "
        "payload TEXT NOT NULL, PRIMARY KEY (team, run_id, seq) ) WITHOUT ROWID"
    ),
)

STAMP = (
    (
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    ),
    f"INSERT INTO alembic_version (version_num) VALUES ('{REVISIONS[-1]}')",
)
