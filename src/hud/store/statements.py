"""What becomes of each kind of row, as SQL. Writing the same rows again changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from hud.store import spans
from hud.store.entries import JOB_COLUMNS, RUN_COLUMNS, RUN_END_COLUMNS

STEP_COLUMNS = spans.COLUMNS[:-1]
BLOB_COLUMNS = ("team", "sha256", "size_bytes", "media_type", "created_at")
DEBUG_SPAN_COLUMNS = (
    *("team", "run_id", "span_id", "name"),
    *("started_at", "ended_at", "has_blobs", "payload"),
)
AUDIT_COLUMNS = ("team", "id", "at", "actor", "action", "subject", "detail")
HEARD_COLUMNS = ("team", "id", "heard_at")
USAGE_COLUMNS = (
    *("team", "id", "prompt_tokens", "completion_tokens", "cached_tokens"),
    *("llm_calls", "turns", "unpriced_turns", "known_cost_usd"),
)
USED_COLUMNS = frozenset((*USAGE_COLUMNS[2:], "cost_usd"))
MARK_COLUMNS = ("team", "id", "invalid_reason")


def _insert(
    table: str, columns: Sequence[str], key: Sequence[str], update: str = "", where: str = ""
) -> str:
    then = f"DO UPDATE SET {update}" if update else "DO NOTHING"
    then += f" WHERE {where}" if where else ""
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) {{rows}} ON CONFLICT ({', '.join(key)}) {then}"
    )


def _kept(table: str, names: Sequence[str]) -> list[str]:
    return [f"{name} = COALESCE({table}.{name}, excluded.{name})" for name in names]


# Only a job that is worked on beside this store is taken up by its row; what reports of it say
# does not change how it stands.
_HEARD_LAST = (
    "CASE WHEN jobs.heard_at IS NULL OR excluded.heard_at IS NULL THEN NULL "
    "WHEN excluded.heard_at < jobs.heard_at THEN jobs.heard_at ELSE excluded.heard_at END"
)
_JOB_AGAIN = ", ".join(
    [
        "status = CASE WHEN excluded.heard_at IS NULL THEN 'running' ELSE jobs.status END",
        "ended_at = CASE WHEN excluded.heard_at IS NULL THEN NULL ELSE jobs.ended_at END",
        "summary = NULL",
        "spec = COALESCE(excluded.spec, jobs.spec)",
        f"heard_at = {_HEARD_LAST}",
        "name = CASE WHEN jobs.name = '' THEN excluded.name ELSE jobs.name END",
        "group_size = CASE WHEN jobs.name = '' THEN excluded.group_size ELSE jobs.group_size END",
        *_kept("jobs", ("taskset", "agent", "model", "runtime")),
        *_kept("jobs", ("taskset_id", "project_id", "key_id")),
    ]
)
_RUN_FACTS = (
    *("task_id", "env", "group_id", "model", "runtime"),
    *("task_digest", "parent_id", "extra"),
)
_MEMBER = (
    "CASE WHEN runs.job_id = '' OR (runs.task_slug = '' AND excluded.task_slug <> '') "
    "THEN excluded.member ELSE runs.member END"
)
_BEGINS = "(runs.status = 'pending' AND excluded.status = 'running')"
_BEGINNING = (
    f"CASE WHEN {_BEGINS} THEN excluded.started_at "
    "WHEN runs.job_id = '' AND excluded.started_at < runs.started_at "
    "THEN excluded.started_at ELSE runs.started_at END"
)
_RUN_AGAIN = ", ".join(
    [
        "job_id = CASE WHEN runs.job_id = '' THEN excluded.job_id ELSE runs.job_id END",
        "task_slug = CASE WHEN runs.task_slug = '' THEN excluded.task_slug ELSE runs.task_slug END",
        f"member = {_MEMBER}",
        "attempt = CASE WHEN runs.job_id = '' THEN excluded.attempt ELSE runs.attempt END",
        f"started_at = {_BEGINNING}",
        f"status = CASE WHEN {_BEGINS} THEN excluded.status ELSE runs.status END",
        *_kept("runs", _RUN_FACTS),
    ]
)


# Nearly every row that comes again says nothing new, and then nothing is written.
_RUN_SAYS_MORE = " OR ".join(
    [
        *(f"(runs.{name} = '' AND excluded.{name} <> '')" for name in ("job_id", "task_slug")),
        *(f"(runs.{name} IS NULL AND excluded.{name} IS NOT NULL)" for name in _RUN_FACTS),
        _BEGINS,
    ]
)


def _end_runs() -> str:
    # The first two columns are the key, the last is `extra`.
    turns = f"v.column{RUN_END_COLUMNS.index('turns') + 1} >= runs.turns"
    assignments: list[str] = []
    for at, name in enumerate(RUN_END_COLUMNS[2:-1], 3):
        said = f"v.column{at}"
        if name in USED_COLUMNS:
            said = f"CASE WHEN {turns} THEN {said} ELSE runs.{name} END"
        assignments.append(f"{name} = {said}")
    assignments.append(f"extra = COALESCE(v.column{len(RUN_END_COLUMNS)}, runs.extra)")
    return (
        f"UPDATE runs SET {', '.join(assignments)} FROM ({{rows}}) AS v "
        "WHERE runs.team = v.column1 AND runs.id = v.column2 AND runs.ended_at IS NULL"
    )


def _add_usage() -> str:
    # The columns after the key, in the order of `USAGE_COLUMNS`.
    counts = USAGE_COLUMNS[2:-1]
    assignments = [f"{name} = runs.{name} + v.column{at}" for at, name in enumerate(counts, 3)]
    cost = f"v.column{len(USAGE_COLUMNS)}"
    unpriced = f"v.column{USAGE_COLUMNS.index('unpriced_turns') + 1}"
    known = f"COALESCE(runs.known_cost_usd + {cost}, {cost}, runs.known_cost_usd)"
    assignments.append(f"known_cost_usd = {known}")
    assignments.append(
        f"cost_usd = CASE WHEN runs.unpriced_turns + {unpriced} = 0 THEN {known} END"
    )
    return (
        f"UPDATE runs SET {', '.join(assignments)} FROM ({{rows}}) AS v "
        "WHERE runs.team = v.column1 AND runs.id = v.column2"
    )


# What is stored every second need not be written every second.
_STORED_AGAIN = "created_at = excluded.created_at"
_IS_OLDER = f"blobs.created_at < excluded.created_at - {600 * 1_000_000}"

INSERT_JOBS = _insert("jobs", JOB_COLUMNS, ("team", "id"), _JOB_AGAIN)
INSERT_RUNS = _insert("runs", RUN_COLUMNS, ("team", "id"), _RUN_AGAIN, _RUN_SAYS_MORE)
INSERT_STEPS = _insert("steps", STEP_COLUMNS, ("team", "run_id", "seq"))
INSERT_BLOBS = _insert("blobs", BLOB_COLUMNS, ("team", "sha256"), _STORED_AGAIN, _IS_OLDER)
INSERT_DEBUG_SPANS = _insert("debug_spans", DEBUG_SPAN_COLUMNS, ("team", "run_id", "span_id"))
INSERT_AUDIT = _insert("audit", AUDIT_COLUMNS, ("team", "id"))
END_RUNS = _end_runs()
ADD_USAGE = _add_usage()
MARK_RUNS = (
    "UPDATE runs SET invalid_reason = v.column3 FROM ({rows}) AS v "
    "WHERE runs.team = v.column1 AND runs.id = v.column2"
)
HEAR_JOBS = (
    "UPDATE jobs SET heard_at = v.column3 FROM ({rows}) AS v "
    "WHERE jobs.team = v.column1 AND jobs.id = v.column2 AND jobs.heard_at < v.column3"
)
JOBS_OF_RUNS = (
    "SELECT runs.team, runs.id, runs.job_id FROM ({rows}) AS v "
    "JOIN runs ON runs.team = v.column1 AND runs.id = v.column2"
)
FORGET_SUMMARIES = (
    "UPDATE jobs SET summary = NULL WHERE summary IS NOT NULL AND (team, id) IN ({rows})"
)
END_JOB = (
    "UPDATE jobs SET status = ?, ended_at = ?, summary = ?, worked_s = COALESCE(?, worked_s) "
    "WHERE team = ? AND id = ?"
)
KEEP_COUNTS = "UPDATE jobs SET summary = ? WHERE team = ? AND id = ? AND summary IS NULL"
