"""Runs that nobody counted become members of their task, in the order in which they began.

A reporter may say only which task a run is an attempt at. Each such run is then a member of its
own, so that none hides another when a job is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from hud.store.rows import UNCOUNTED
from hud.store.session import Session

_UNCOUNTED = f"""
SELECT DISTINCT runs.team, runs.job_id, runs.task_slug, runs.started_at, runs.id
FROM ({{rows}}) AS v JOIN runs ON runs.team = column1 AND runs.id = column2
WHERE runs.member = {UNCOUNTED} AND runs.job_id <> ''
"""
_LAST = """
SELECT max(member) FROM runs WHERE team = ? AND job_id = ? AND task_slug = ?
"""
_COUNT = """
UPDATE runs SET member = column3 FROM ({rows}) AS v
WHERE runs.team = column1 AND runs.id = column2
"""


def count_members(session: Session, keys: Sequence[tuple[str, str]]) -> None:
    """Give those of the runs `keys` (team, id) a member that have none and whose job is known."""
    runs = sorted(set(session.query_rows(_UNCOUNTED, ("team", "id"), sorted(set(keys)))))
    if not runs:
        return
    session.lock(sorted({f"members {team} {job_id}" for team, job_id, *_ in runs}))
    counted: list[tuple[str, str, int]] = []
    task, last = ("", "", ""), UNCOUNTED
    for team, job_id, slug, _, run_id in runs:
        if (team, job_id, slug) != task:
            task = (team, job_id, slug)
            [(found,)] = session.query(_LAST, task)
            last = max(found, UNCOUNTED)
        last += 1
        counted.append((team, run_id, last))
    session.change_rows(_COUNT, ("team", "id", "member"), counted)
