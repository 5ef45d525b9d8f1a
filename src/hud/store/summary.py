"""What became of a job's runs, counted: the latest attempt of every member, in one query.

Ended jobs keep the result on their row; a running one is counted when somebody asks.
"""

from __future__ import annotations

import sqlite3
from typing import Any

# In the order of the index `runs_of_job`, so nothing is sorted; `next_attempt` is null for the
# attempt that counts.
_SUMMARY = """
SELECT status, outcome, count(*), sum(reward) FROM (
  SELECT status, outcome, reward,
    lead(attempt) OVER (PARTITION BY task_slug, member ORDER BY attempt, id) AS next_attempt
  FROM runs WHERE team = ? AND job_id = ?
) AS attempts WHERE next_attempt IS NULL GROUP BY status, outcome
"""


def summarise_job(connection: sqlite3.Connection, team: str, job_id: str) -> dict[str, Any]:
    """Return the counts of one job as plain data (the JSON kept in `jobs.summary`)."""
    [(attempts,)] = connection.execute(
        "SELECT count(*) FROM runs WHERE team = ? AND job_id = ?", (team, job_id)
    ).fetchall()
    summary: dict[str, Any] = {
        "runs": 0,
        "attempts": attempts,
        "graded": 0,
        "running": 0,
        "ungraded": {},
        "mean_reward": None,
    }
    total = 0.0
    for status, outcome, count, rewards in connection.execute(_SUMMARY, (team, job_id)).fetchall():
        summary["runs"] += count
        if outcome == "graded":
            summary["graded"] += count
            total += rewards
        elif outcome is None:
            summary["running"] += count
        else:
            ungraded: dict[str, int] = summary["ungraded"]
            ungraded[outcome] = ungraded.get(outcome, 0) + count
        del status
    if summary["graded"]:
        summary["mean_reward"] = total / summary["graded"]
    return summary
