"""What a job needs to be taken up again, and whether it still may be.

A resume runs what is missing or ungraded, nothing else, and only when the source, the tasks, the
agent and its settings are what they were.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from hud._core import json
from hud._core.errors import InputError, bounded
from hud._core.garbage import without_collections
from hud._core.outcome import Outcome
from hud.agents.base import Agent
from hud.agents.grade import Grade
from hud.agents.run import Run
from hud.environment.task import Task
from hud.eval.budget import Budget
from hud.eval.job import Job
from hud.store import Attempt, JobRecord, Store

_SHOWN = 5


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a job was asked for. Recorded with it; holds no secret.

    Attributes:
        source: Path of the file the tasks came from.
        files: SHA-256 of every local file behind the source, by path relative to its folder.
        tasks: Digest of every task, by slug, in order.
        agent: The kind of agent, as the command line names it.
        model: Its model, if it was named.
        config: Its settings, without secrets.
        described: What the agent said of itself.
        runtime: The runtime, as the command line names it.
        budget: What the whole job may use.
    """

    source: str
    files: dict[str, str]
    tasks: dict[str, str]
    agent: str
    model: str | None = None
    config: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    described: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    runtime: str = "subprocess"
    group: int = 1
    max_concurrent: int | None = None
    rollout_timeout: float | None = None
    retries: int = 0
    budget: Budget | None = None

    def to_json(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)


@dataclass(frozen=True, slots=True)
class Resume:
    """A recorded job, ready to go on.

    Attributes:
        job: The job, holding the runs that are graded already.
        graded: (slug, member) of those runs.
        attempts: Attempts made so far at each (slug, member).
    """

    job: Job
    spec: JobSpec
    graded: frozenset[tuple[str, int]]
    attempts: dict[tuple[str, int], int]

    @property
    def is_complete(self) -> bool:
        """Whether every member of every task is graded."""
        return len(self.graded) == len(self.spec.tasks) * self.spec.group


def make_spec(
    *,
    source: Path,
    files: Sequence[Path],
    tasks: Sequence[Task],
    agent: str,
    model: str | None,
    config: Mapping[str, Any],
    described: Agent | None,
    runtime: str,
    group: int,
    max_concurrent: int | None = None,
    rollout_timeout: float | None = None,
    retries: int = 0,
    budget: Budget | None = None,
) -> JobSpec:
    """Describe a job about to begin.

    Raises:
        InputError: when a file behind the source cannot be read.
    """
    return JobSpec(
        source=str(source),
        files=digests(files, source.parent),
        tasks={task.slug: task.digest() for task in tasks},
        agent=agent,
        model=model,
        config=_without_secrets(json.to_plain(dict(config))),
        described=_without_secrets(json.to_plain(described.describe())) if described else {},
        runtime=runtime,
        group=group,
        max_concurrent=max_concurrent,
        rollout_timeout=rollout_timeout,
        retries=retries,
        budget=budget,
    )


def digests(files: Sequence[Path], root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, by its path relative to `root` where it lies under it.

    Raises:
        InputError: when one cannot be read.
    """
    found: dict[str, str] = {}
    for file in files:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from error
        name = str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def load_resume(store: Store, job_id: str) -> Resume:
    """Read a job back.

    Raises:
        InputError: when there is no such job, or it was not recorded by `hud eval`.
    """
    record = store.find_job(job_id)
    try:
        spec = spec_of(record)
    except msgspec.ValidationError as error:
        raise InputError(f"job {record.id} cannot be resumed: its record is {error}") from error
    if spec is None:
        raise InputError(
            f"job {record.id} cannot be resumed: it was not started by hud eval",
            hint="give Taskset.run(job=…) its id from Python instead",
        )
    job = Job(record.id, record.name, group=spec.group)
    graded, attempts = read_attempts(store, job, spec.tasks)
    return Resume(job, spec, graded, attempts)


def spec_of(record: JobRecord) -> JobSpec | None:
    """Return how a job was asked for; None when it was not started by `hud eval`.

    Raises:
        msgspec.ValidationError: when its record is something else.
    """
    return msgspec.convert(record.spec, JobSpec) if record.spec else None


def owed_by(record: JobRecord) -> dict[str, int] | None:
    """Return the members per task that a job was asked for, where its record says so."""
    with contextlib.suppress(ValueError):  # what msgspec raises for another kind of record
        spec = spec_of(record)
        return dict.fromkeys(spec.tasks, spec.group) if spec is not None else None
    return None


def read_attempts(
    store: Store, job: Job, slugs: Container[str]
) -> tuple[frozenset[tuple[str, int]], dict[tuple[str, int], int]]:
    """Add to `job` the graded runs of the tasks `slugs` that it does not have yet.

    Returns which (slug, member) are graded, and the number of the latest attempt at each.
    """
    known = {run.trace_id for run in job.runs}
    graded: set[tuple[str, int]] = set()
    attempts: dict[tuple[str, int], int] = {}
    with without_collections():
        for attempt in store.latest_attempts(job.id):
            key = (attempt.task_slug, attempt.member)
            attempts[key] = attempt.attempt
            if attempt.outcome is Outcome.GRADED and attempt.task_slug in slugs:
                graded.add(key)
                if attempt.run_id not in known:
                    job.runs.append(_graded_run(attempt, job.id))
    return frozenset(graded), attempts


def differences(recorded: JobSpec, present: JobSpec) -> list[str]:
    """Say in one sentence each what is not as it was when the job began; empty when all is."""
    found = [
        *_changed("file", recorded.files, present.files),
        *_changed("task", recorded.tasks, present.tasks),
    ]
    named = {
        "agent": (recorded.agent, present.agent),
        "model": (recorded.model, present.model),
        "group": (recorded.group, present.group),
        "runtime": (recorded.runtime, present.runtime),
        "rollout_timeout": (recorded.rollout_timeout, present.rollout_timeout),
    }
    for name, (was, now) in named.items():
        if was != now:
            found.append(f"{name} was {_shown(was)} and is now {_shown(now)}")
    found += _settings("config", recorded.config, present.config)
    if recorded.config == present.config and recorded.agent == present.agent:
        was, now = recorded.described.get("config"), present.described.get("config")
        if isinstance(was, dict) and isinstance(now, dict):
            found += _settings(
                "agent setting", cast("dict[str, Any]", was), cast("dict[str, Any]", now)
            )
    return found


def refuse_differences(job_id: str, found: Sequence[str]) -> None:
    """Refuse a resume that would mix two different evaluations.

    Raises:
        InputError: when anything differs, naming what.
    """
    if found:
        shown = "; ".join(found[:_SHOWN])
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise InputError(
            f"job {job_id} cannot be resumed, this is not the same evaluation any more: "
            f"{shown}{more}",
            hint="undo the change, or start a new job",
        )


def _graded_run(attempt: Attempt, job_id: str) -> Run:
    run = Run(None, attempt.task_slug, {})
    run.trace.trace_id = attempt.run_id
    run.trace.status = "completed"
    run.job_id = job_id
    run.slug = attempt.task_slug
    run.member = attempt.member
    run.attempt = attempt.attempt
    reward = attempt.reward if attempt.reward is not None else float("nan")
    run.grade = Grade(reward=reward)
    run.outcome = Outcome.GRADED
    return run


def _changed(noun: str, was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    found = [f"{noun} {name} changed" for name in was if name in now and was[name] != now[name]]
    found += [f"{noun} {name} is gone" for name in was if name not in now]
    found += [f"{noun} {name} is new" for name in now if name not in was]
    return found


def _settings(noun: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{noun} {key} was {_shown(was.get(key))} and is now {_shown(now.get(key))}"
        for key in sorted({*was, *now})
        if was.get(key) != now.get(key)
    ]


def _shown(value: object) -> str:
    return "unset" if value is None else bounded(str(value), 80)


def _without_secrets(value: Any) -> Any:
    """Drop settings whose names say that they are secret."""
    if not isinstance(value, dict):
        return value
    settings = cast("dict[str, Any]", value)
    return {
        key: _without_secrets(item)
        for key, item in settings.items()
        if not (isinstance(item, str) and _names_secret(key))
    }


def _names_secret(name: str) -> bool:
    parts = name.lower().replace("-", "_").split("_")
    return any(word in parts for word in ("key", "token", "secret", "password"))
