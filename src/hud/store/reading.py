"""Records out of rows: what the store's questions are as SQL, on one connection.

How often a question is asked, and of which connection, is the store's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hud._core import json
from hud._core.errors import InputError, NotFound, bounded
from hud._core.ids import normal_id
from hud._core.outcome import Outcome
from hud.store.engine import Engine
from hud.store.filters import JobFilter, RunFilter
from hud.store.liveness import living_jobs, reported_statuses, silent_before
from hud.store.recent_counts import RecentCounts
from hud.store.records import Attempt, JobCounts, JobRecord, JobSummary, RunRecord
from hud.store.session import Session
from hud.store.summary import summarise_job

_JOB = (
    "id, team, name, status, created_at, ended_at, group_size, taskset, agent, model, runtime, "
    "spec, worked_s, heard_at, taskset_id, project_id, key_id"
)
_RUN = (
    "id, team, job_id, task_slug, task_id, env, member, attempt, group_id, model, runtime, "
    "task_digest, status, outcome, reward, stop_reason, error, started_at, ended_at, evaluation, "
    "prompt_tokens, completion_tokens, cached_tokens, llm_calls, cost_usd, extra, "
    "turns, unpriced_turns, known_cost_usd, parent_id, invalid_reason"
)
_LATEST = """
SELECT id, task_slug, member, attempt, outcome, reward, task_digest, invalid_reason FROM (
  SELECT id, task_slug, member, attempt, outcome, reward, task_digest, invalid_reason,
    lead(attempt) OVER (PARTITION BY task_slug, member ORDER BY attempt, id) AS next_attempt
  FROM runs WHERE team = ? AND job_id = ?
) AS attempts WHERE next_attempt IS NULL
"""
_JOB_FIELDS = tuple(_JOB.split(", "))
_RUN_FIELDS = tuple(_RUN.split(", "))
# A listing leaves `spec` on the disk: it may hold a row for each of 200,000 tasks.
_LISTED_JOB = f"{_JOB.replace(', spec', ', NULL')}, summary"
_MATCHES_NAMED = 5
_NEAR_RUNS = 20_000


class Reading:
    """Questions about the jobs and runs of one team.

    Attributes:
        counted: Jobs of a listing that had to be counted and need not be the next time.
    """

    def __init__(self, engine: Engine, session: Session, team: str, recent: RecentCounts) -> None:
        self._engine = engine
        self._recent = recent
        self._session = session
        self.counted: list[str] = []
        self._team = team

    def job(self, text: str) -> JobRecord:
        [job] = self._jobs([self._find("jobs", _JOB, "job", text)])
        return job

    def jobs(
        self, filters: JobFilter, before: JobRecord | None, limit: int
    ) -> tuple[list[JobSummary], JobRecord | None]:
        """Return a page of jobs, and the last one looked at when there may be more after it."""
        narrowed, values = filters.conditions(silent_before())
        if before is not None:
            narrowed += "AND (created_at, id) < (?, ?) "
            values += [before.created_at, before.id]
        rows = self._session.query(
            f"SELECT {_LISTED_JOB} FROM jobs WHERE team = ? {narrowed}"
            "ORDER BY created_at DESC, id DESC LIMIT ?",
            (self._team, *values, limit),
        )
        jobs = self._jobs([row[:-1] for row in rows])
        found = [
            self._listed(job, row[-1])
            for job, row in zip(jobs, rows, strict=True)
            if filters.status in (None, job.status)
        ]
        return found, jobs[-1] if len(jobs) == limit else None

    def summary(self, job: JobRecord) -> JobSummary:
        rows = self._session.query(
            "SELECT summary FROM jobs WHERE team = ? AND id = ?", (self._team, job.id)
        )
        return self._with_counts(job, rows[0][0] if rows else None)

    def run(self, text: str) -> RunRecord:
        [run] = self._runs([self._find("runs", _RUN, "run", text)])
        return run

    def runs_of(self, job_id: str, after: RunRecord | None, limit: int) -> list[RunRecord]:
        later, values = "", [self._team, normal_id(job_id)]
        if after is not None:
            later = "AND (task_slug, member, attempt, id) > (?, ?, ?, ?) "
            values += [after.task_slug, after.member, after.attempt, after.id]
        rows = self._session.query(
            f"SELECT {_RUN} FROM runs WHERE team = ? AND job_id = ? {later}"
            "ORDER BY task_slug, member, attempt, id LIMIT ?",
            (*values, limit),
        )
        return self._runs(rows)

    def runs(self, filters: RunFilter, before: RunRecord | None, limit: int) -> list[RunRecord]:
        narrowed, values = filters.conditions()
        older, last = "", list[Any]()
        if before is not None:
            older, last = "AND (started_at, id) < (?, ?) ", [before.started_at, before.id]
            narrowed, values = narrowed + older, values + last
        if filters.task_slug is None or filters.job_id is not None:
            return self._newest(narrowed, values, limit)
        near = self._session.query(
            f"SELECT started_at FROM runs WHERE team = ? {older}"
            "ORDER BY started_at DESC, id DESC LIMIT 1 OFFSET ?",
            (self._team, *last, _NEAR_RUNS),
        )
        if near:
            found = self._newest(f"{narrowed}AND started_at >= ? ", [*values, *near[0]], limit)
            if len(found) == limit:
                return found
        # A task that is rare among the next runs is looked for job by job: an index of its own
        # would cost every run more than all the others do.
        narrowed += "AND job_id IN (SELECT id FROM jobs WHERE team = ?) "
        return self._newest(narrowed, [*values, self._team], limit, order="+started_at")

    def _newest(
        self, narrowed: str, values: list[Any], limit: int, order: str = "started_at"
    ) -> list[RunRecord]:
        rows = self._session.query(
            f"SELECT {_RUN} FROM runs WHERE team = ? {narrowed}"
            f"ORDER BY {order} DESC, id DESC LIMIT ?",
            (self._team, *values, limit),
        )
        return self._runs(rows)

    def latest_attempts(self, job_id: str) -> list[Attempt]:
        rows = self._session.query(_LATEST, (self._team, normal_id(job_id)))
        return [
            Attempt(run_id, slug, member, attempt, _outcome(outcome), reward, digest, invalid)
            for run_id, slug, member, attempt, outcome, reward, digest, invalid in rows
        ]

    def _find(self, table: str, columns: str, noun: str, text: str) -> tuple[Any, ...]:
        prefix = normal_id(text)
        if not prefix or any(digit not in "0123456789abcdef" for digit in prefix):
            raise InputError(
                f"{bounded(text)!r} is not the id of a {noun}",
                hint="give the first digits of an id; `hud jobs` lists them",
            )
        rows = self._session.query(
            f"SELECT {columns} FROM {table} WHERE team = ? AND id >= ? AND id < ? "
            f"ORDER BY id LIMIT {_MATCHES_NAMED + 1}",
            (self._team, prefix, prefix + "g"),
        )
        if not rows:
            raise NotFound(
                f"there is no {noun} {bounded(text)} in {self._engine.where}",
                hint="`hud jobs` lists what is recorded",
            )
        if len(rows) > 1:
            named = ", ".join(row[0] for row in rows[:_MATCHES_NAMED])
            more = ", …" if len(rows) > _MATCHES_NAMED else ""
            raise InputError(
                f"{bounded(text)} matches more than one {noun}: {named}{more}",
                hint="give more digits of the id",
            )
        return rows[0]

    def _jobs(self, rows: Sequence[Sequence[Any]]) -> list[JobRecord]:
        """Return `rows` with how each stands now."""
        found = [dict(zip(_JOB_FIELDS, row, strict=True)) for row in rows]
        running = [job for job in found if job["status"] == "running"]
        heard = {job["id"]: job["heard_at"] for job in running if job["heard_at"] is not None}
        local = [job["id"] for job in running if job["heard_at"] is None]
        reported = reported_statuses(self._session, self._team, heard)
        held = self._engine.held_jobs(self._session, local) if local else set[str]()
        for job in found:
            job["spec"] = _document(job["spec"])
            if job["id"] in reported:
                job["status"] = reported[job["id"]]
            elif job["status"] == "running" and job["id"] not in held:
                job["status"] = "interrupted"
        return [JobRecord(**job) for job in found]

    def _runs(self, rows: Sequence[Sequence[Any]]) -> list[RunRecord]:
        """Return `rows` with whether anybody works on them."""
        found = [dict(zip(_RUN_FIELDS, row, strict=True)) for row in rows]
        unfinished = {run["job_id"] for run in found if run["ended_at"] is None} - {""}
        living = living_jobs(self._session, self._team, unfinished, self._engine.held_jobs)
        limit = silent_before()
        for run in found:
            run["outcome"] = _outcome(run["outcome"])
            run["evaluation"] = _document(run["evaluation"])
            run["extra"] = _document(run["extra"])
            is_alive = run["job_id"] in living or (not run["job_id"] and run["started_at"] >= limit)
            run["is_interrupted"] = run["ended_at"] is None and not is_alive
        return [RunRecord(**run) for run in found]

    def _listed(self, job: JobRecord, kept: str | None) -> JobSummary:
        recent = self._recent.find(self._team, job.id) if kept is None else None
        if recent is not None:
            return JobSummary(job, recent)
        summary = self._with_counts(job, kept)
        if kept is None:
            self._recent.keep(self._team, job.id, summary.counts)
            if job.status != "running":
                self.counted.append(job.id)
        return summary

    def _with_counts(self, job: JobRecord, kept: str | None) -> JobSummary:
        if kept is not None:
            return JobSummary(job, _counts(json.decode(kept)))
        return JobSummary(job, _counts(summarise_job(self._session, self._team, job.id)))


def _outcome(name: str | None) -> Outcome | None:
    return None if name is None else Outcome(name)


def _document(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.decode(text)


def _counts(plain: dict[str, Any]) -> JobCounts:
    ungraded = {Outcome(name): count for name, count in plain.pop("ungraded").items()}
    return JobCounts(**plain, ungraded=ungraded)
