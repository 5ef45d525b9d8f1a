"""Which jobs and runs a listing is about, as plain data and as the condition it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hud._core.ids import normal_id
from hud._core.outcome import Outcome
from hud.store.rows import JobStatus, RunStatus


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs; what is None is not asked for. Times are microseconds since the epoch.

    Attributes:
        job_id: A whole id.
        since: The earliest beginning that is listed.
        until: The first beginning that is not listed any more.
    """

    job_id: str | None = None
    status: RunStatus | None = None
    outcome: Outcome | None = None
    model: str | None = None
    env: str | None = None
    task_slug: str | None = None
    since: int | None = None
    until: int | None = None

    def conditions(self) -> tuple[str, list[Any]]:
        """Return it as SQL that begins with AND, and the values of its parameters."""
        outcome = None if self.outcome is None else self.outcome.value
        wanted: list[tuple[str, Any]] = [
            ("job_id = ?", None if self.job_id is None else normal_id(self.job_id)),
            ("status = ?", self.status),
            ("outcome = ?", outcome),
            ("model = ?", self.model),
            ("env = ?", self.env),
            ("task_slug = ?", self.task_slug),
            ("started_at >= ?", self.since),
            ("started_at < ?", self.until),
        ]
        # What the indexes of the rarer kinds are made of, said so that it is seen to apply.
        if self.status not in (None, "completed"):
            wanted.append(("status <> 'completed'", None))
        if self.outcome not in (None, Outcome.GRADED):
            wanted.append(("outcome <> 'graded'", None))
        given = [(text, value) for text, value in wanted if value is not None or "?" not in text]
        sql = "".join(f"AND {text} " for text, _ in given)
        return sql, [value for text, value in given if "?" in text]


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; what is None is not asked for.

    Attributes:
        name: What the name contains, in whichever case.
        status: How they stand now.
    """

    name: str | None = None
    taskset: str | None = None
    taskset_id: str | None = None
    project_id: str | None = None
    model: str | None = None
    status: JobStatus | None = None

    def conditions(self, silent_before: int) -> tuple[str, list[Any]]:
        """Return it as SQL that begins with AND, and the values of its parameters.

        The status is only narrowed down: how a job that never ended stands is not in the database
        alone.
        """
        sql, values = "", list[Any]()
        if self.name is not None:
            pattern = "".join(f"\\{one}" if one in "\\%_" else one for one in self.name)
            sql += "AND (lower(name) LIKE ? ESCAPE '\\' OR name LIKE ? ESCAPE '\\') "
            values += [f"%{pattern.lower()}%", f"%{pattern}%"]
        for column in ("taskset", "taskset_id", "project_id", "model"):
            value = getattr(self, column)
            if value is not None:
                sql += f"AND {column} = ? "
                values.append(value)
        match self.status:
            case None:
                pass
            case "running":
                sql += "AND status = 'running' AND (heard_at IS NULL OR heard_at >= ?) "
                values.append(silent_before)
            case "interrupted":
                sql += (
                    "AND (status = 'interrupted' OR "
                    "(status = 'running' AND (heard_at IS NULL OR heard_at < ?))) "
                )
                values.append(silent_before)
            case "completed":
                sql += (
                    "AND (status = 'completed' OR (status = 'running' AND heard_at IS NOT NULL)) "
                )
            case "cancelled":
                sql += "AND status = 'cancelled' "
        return sql, values


EVERY_RUN = RunFilter()
EVERY_JOB = JobFilter()
