"""What became of a job's runs, counted: the latest attempt of every member, in one query.

Ended jobs keep the result on their row; a running one is counted when somebody asks.
"""

from __future__ import annotations

from typing import Any

from hud.store.session import Session

# In the order of the index `runs_of_job`, so nothing is sorted; `next_attempt` is null for the
# attempt that counts.
_SUMMARY = """
SELECT kind, count(*), sum(reward) FROM (
  SELECT reward,
    CASE WHEN invalid_reason IS NULL THEN outcome ELSE 'invalid' END AS kind,
    lead(attempt) OVER (PARTITION BY task_slug, member ORDER BY attempt, id) AS next_attempt
  FROM runs WHERE team = ? AND job_id = ?
) AS attempts WHERE next_attempt IS NULL GROUP BY kind
"""


def summarise_job(session: Session, team: str, job_id: str) -> dict[str, Any]:
    """Return the counts of one job as plain data (the JSON kept in `jobs.summary`)."""
    [(attempts,)] = session.query(
        "SELECT count(*) FROM runs WHERE team = ? AND job_id = ?", (team, job_id)
    )
    summary: dict[str, Any] = {
        "runs": 0,
        "attempts": attempts,
        "graded": 0,
        "running": 0,
        "ungraded": {},
        "mean_reward": None,
        "invalid": 0,
    }
    for kind, count, rewards in session.query(_SUMMARY, (team, job_id)):
        summary["runs"] += count
        match kind:
            case "graded":
                summary["graded"] = count
                summary["mean_reward"] = rewards / count
            case None:
                summary["running"] = count
            case "invalid":
                summary["invalid"] = count
            case outcome:
                summary["ungraded"][outcome] = count
    return summary
