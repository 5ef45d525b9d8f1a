"""From the arguments of `hud eval` to a job that can run, new or taken up again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hud._core.errors import InputError
from hud._core.ids import new_id
from hud.agents.base import Agent
from hud.agents.create import AGENT_KINDS, known_agents, make_agent, parse_config
from hud.api.place import required_place
from hud.cli.budgeting import make_budget
from hud.cli.render import count
from hud.cli.streams import note
from hud.eval.budget import Budget
from hud.eval.job import Job
from hud.eval.loading import TaskSource, is_defined_beside, is_remote, load_tasks
from hud.eval.places import HOSTED, needs_source, runtime_at
from hud.eval.recording import default_store
from hud.eval.resume import (
    JobSpec,
    Resume,
    differences,
    load_resume,
    make_spec,
    refuse_differences,
)
from hud.eval.rollout import Limits
from hud.eval.selection import names_in, select
from hud.eval.taskset import Taskset
from hud.runtimes.base import Provider
from hud.runtimes.hosted import HostedRuntime

DEFAULT_CONCURRENT, DEFAULT_STEPS, DEFAULT_RETRIES = 30, 10, 2
DEFAULT_RUNTIME = "subprocess"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of `hud eval`; None where nothing was said."""

    source: str | None = None
    agent: str | None = None
    all_tasks: bool = False
    task_ids: str | None = None
    model: str | None = None
    config: tuple[str, ...] = ()
    group: int | None = None
    runtime: str | None = None
    env_source: str | None = None
    max_concurrent: int | None = None
    max_steps: int | None = None
    rollout_timeout: float | None = None
    retries: int | None = None
    max_cost: float | None = None
    max_tokens: int | None = None
    max_turns: int | None = None
    max_time: float | None = None
    resume: str | None = None
    yes: bool = False
    dry_run: bool = False
    as_json: bool = False
    verbose: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """A job about to run, everything it needs looked up.

    Attributes:
        resume: What is done already, when the job is taken up again.
    """

    taskset: Taskset
    agent: Agent
    runtime: Provider | HostedRuntime
    spec: JobSpec
    job: Job
    resume: Resume | None

    @property
    def total(self) -> int:
        """Rollouts the job owes, those done included."""
        return len(self.spec.tasks) * self.spec.group

    @property
    def left(self) -> int:
        """Rollouts that are still to be run."""
        return self.total - (len(self.resume.graded) if self.resume else 0)

    @property
    def owed(self) -> dict[str, int]:
        """Members per task."""
        return dict.fromkeys(self.spec.tasks, self.spec.group)


def prepare(request: Request) -> Ready:
    """Look up tasks, agent and runtime, and for a resume that they are what they were.

    Raises:
        InputError: when any of them cannot be used, or differs from the record.
    """
    if request.rollout_timeout is not None and not 0 < request.rollout_timeout < math.inf:
        raise InputError(
            f"--rollout-timeout must be a positive number of seconds, not {request.rollout_timeout}"
        )
    resume = load_resume(default_store(), request.resume) if request.resume is not None else None
    return _new(request) if resume is None else _again(request, resume)


def _new(request: Request) -> Ready:
    source, kind = _who_and_what(request.source, request.agent)
    runtime = request.runtime or _default_runtime(source, request.env_source)
    if runtime == HOSTED:
        required_place()
    loaded = load_tasks(source, environment=request.env_source, is_served=not needs_source(runtime))
    names = names_in(request.task_ids)
    chosen = select(loaded.taskset, names, first_only=not (request.all_tasks or names))
    asked = JobSpec(
        source=source,
        files={},
        tasks={},
        agent=kind,
        model=request.model,
        config={"max_steps": DEFAULT_STEPS, **_config(request)},
        runtime=runtime,
        group=request.group or 1,
        max_concurrent=request.max_concurrent
        or (len(chosen) * (request.group or 1) if runtime == HOSTED else DEFAULT_CONCURRENT),
        rollout_timeout=request.rollout_timeout,
        retries=DEFAULT_RETRIES if request.retries is None else request.retries,
        budget=_budget(request),
    )
    ready = _ready(loaded, chosen, asked, None)
    if len(chosen) < len(loaded.taskset) and not names:
        note(f"running 1 of {count(len(loaded.taskset), 'task')}; --all runs every one")
    return ready


def _again(request: Request, resume: Resume) -> Ready:
    """Ask for the same again, but for what the arguments say otherwise."""
    was = resume.spec
    source, kind = _given(request.source, request.agent)
    runtime = request.runtime or was.runtime
    loaded = load_tasks(
        source or was.source, environment=request.env_source, is_served=not needs_source(runtime)
    )
    names = names_in(request.task_ids)
    if names or request.all_tasks:
        chosen = select(loaded.taskset, names)
    else:
        chosen = Taskset(loaded.taskset.name, [t for t in loaded.taskset if t.slug in was.tasks])
    asked = JobSpec(
        source=was.source,
        files={},
        tasks={},
        agent=kind or was.agent,
        model=request.model if request.model is not None else was.model,
        config={**was.config, **_config(request)},
        runtime=runtime,
        group=request.group or was.group,
        max_concurrent=request.max_concurrent or was.max_concurrent,
        rollout_timeout=request.rollout_timeout or was.rollout_timeout,
        retries=was.retries if request.retries is None else request.retries,
        budget=_budget(request, was.budget),
    )
    return _ready(loaded, chosen, asked, resume)


def _ready(loaded: TaskSource, chosen: Taskset, asked: JobSpec, resume: Resume | None) -> Ready:
    agent = make_agent(
        asked.agent, model=asked.model, config=asked.config, source=loaded.environment
    )
    spec = make_spec(
        source=loaded.path,
        files=loaded.files,
        tasks=list(chosen),
        agent=asked.agent,
        model=asked.model,
        config=asked.config,
        described=agent,
        runtime=asked.runtime,
        group=asked.group,
        max_concurrent=asked.max_concurrent,
        rollout_timeout=asked.rollout_timeout,
        retries=asked.retries,
        budget=asked.budget,
    )
    if resume is not None:
        refuse_differences(resume.job.id, differences(resume.spec, spec))
    place = runtime_at(asked.runtime, loaded.environment)
    _check_limits(chosen, agent, asked.rollout_timeout)
    if isinstance(place, HostedRuntime):
        _check_hosted(agent, resume)
    else:
        agent.check_ready()
    job = (
        resume.job
        if resume
        else Job(new_id(), chosen.name, group=spec.group, taskset_id=loaded.taskset.taskset_id)
    )
    return Ready(chosen, agent, place, spec, job, resume)


def _default_runtime(source: str, env_source: str | None) -> str:
    """Return where rollouts run when nobody said: where their environment is.

    A platform's tasks run on the platform, unless this folder defines their environment.
    """
    if env_source is not None or not is_remote(source):
        return DEFAULT_RUNTIME
    return DEFAULT_RUNTIME if is_defined_beside(Path.cwd()) else HOSTED


def _check_hosted(agent: Agent, resume: Resume | None) -> None:
    """Refuse what a platform cannot do, before anything is asked of it.

    Raises:
        InputError: when the agent is only here, no platform is named, or a job is taken up again.
    """
    if resume is not None:
        raise InputError(
            f"job {resume.job.id} is recorded here, and would go on at a platform",
            hint="take it up again with the runtime it had",
        )
    from hud.eval.hosting import agent_ask

    required_place()
    agent_ask(agent)


def _check_limits(taskset: Taskset, agent: Agent, rollout_timeout: float | None) -> None:
    for task in taskset:
        try:
            Limits.of(task, agent, rollout_timeout)
        except ValueError as error:
            raise InputError(str(error)) from error


def _given(source: str | None, agent: str | None) -> tuple[str | None, str | None]:
    """Tell source and agent apart when only one argument was given: it may be either."""
    if source in AGENT_KINDS and agent is None and not Path(source).exists():
        return None, source
    return source, agent


def _who_and_what(source: str | None, agent: str | None) -> tuple[str, str]:
    source, agent = _given(source, agent)
    if agent is None:
        raise InputError(
            "no agent was named",
            hint=f"hud eval {source or 'tasks.py'} AGENT, with one of: {', '.join(known_agents())}",
        )
    return source or ".", agent


def _budget(request: Request, was: Budget | None = None) -> Budget | None:
    given = {
        "cost_usd": request.max_cost,
        "tokens": request.max_tokens,
        "steps": request.max_turns,
        "wall_s": request.max_time,
    }
    return make_budget(given, was)


def _config(request: Request) -> dict[str, Any]:
    """Return the settings given; `--config max_steps=N` says the same as `--max-steps N`."""
    steps = {} if request.max_steps is None else {"max_steps": request.max_steps}
    return {**steps, **parse_config(request.config)}
