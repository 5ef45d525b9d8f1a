"""One rollout, start to end: place, connect, start, agent, grade, tear down, keep.

One function per phase, each with its own limit and its own boundary. A rollout never raises for
what went wrong in it: the run it returns says so. Scheduling many is `schedule`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hud._core import json
from hud._core.errors import AgentFault, Fault, RuntimeFault, bounded
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.agents.base import Agent, AgentFunction, as_agent, model_of
from hud.agents.grade import Grade
from hud.agents.run import Run
from hud.clients.client import HudClient
from hud.environment.task import Task
from hud.eval.boundary import boundary, describe, fault_for, phase_of
from hud.eval.cancelling import cancellable_run
from hud.eval.filetracking import recording_files
from hud.eval.holding import Interruption, Placement, outlast
from hud.eval.metering import Account, Meter
from hud.eval.spending import Spent
from hud.protocol.framing import MAX_FRAME_BYTES
from hud.runtimes.base import Provider, as_provider
from hud.trace.context import trace_context
from hud.trace.recorder import Recorder, spell
from hud.trace.sinks import RunEnded, RunStarted, Sink
from hud.trace.steps import AgentStep, Step, TaskCall, Trace

if TYPE_CHECKING:
    from hud.eval.hosting import Hosting

logger = logging.getLogger(__name__)

_LONG_ANSWER = MAX_FRAME_BYTES // 12
_ENVELOPE = 1_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a rollout may take, in seconds; None is no limit.

    `rollout_s` bounds everything (running out is outcome `timeout`), `agent_s` the agent alone
    (running out is graded on the state it left).
    """

    rollout_s: float | None = None
    agent_s: float | None = None

    @classmethod
    def of(cls, task: Task, agent: Agent, rollout_s: float | None) -> Limits:
        """Read the limits that apply to one task.

        Raises:
            ValueError: when one is no positive number, or the agent's is not below the others.
        """
        config = task.agent_config or {}
        own = getattr(getattr(agent, "config", None), "timeout_seconds", None)
        agent_s = _seconds(config.get("timeout_seconds", own), task, "timeout_seconds")
        rollout_s = _seconds(rollout_s, task, "rollout_timeout")
        asked = task.runtime_config.limits if task.runtime_config else None
        run_s = asked.run_timeout_s if asked else None
        for name, limit in (("rollout_timeout", rollout_s), ("run_timeout_s", run_s)):
            if agent_s is not None and limit is not None and agent_s >= limit:
                raise ValueError(
                    f"task {task.slug!r}: the agent's timeout_seconds ({agent_s:g}) must be below "
                    f"{name} ({limit:g})"
                )
        bounds = [limit for limit in (rollout_s, run_s) if limit is not None]
        return cls(min(bounds) if bounds else None, agent_s)


def _seconds(value: object, task: Task, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"task {task.slug!r}: {name} must be positive seconds, not {value!r}")
    return float(value)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one attempt needs, decided beforehand.

    Attributes:
        hosting: What has the platform do all of it, in place of what is done here.
    """

    task: Task
    agent: Agent
    runtime: Provider
    limits: Limits
    sinks: Sequence[Sink]
    task_digest: str | None = None
    meter: Meter | None = None
    hosting: Hosting | None = None


def new_run(
    task: Task,
    *,
    job_id: str,
    group_id: str | None = None,
    trace_id: str | None = None,
    member: int = 0,
    attempt: int = 1,
) -> Run:
    """Return a run that has not begun."""
    run = Run(None, task.id, dict(task.args))
    run.trace.trace_id = trace_id or new_id()
    run.job_id = job_id
    run.group_id = group_id
    run.slug = task.slug
    run.env = task.env
    run.member = member
    run.attempt = attempt
    run.agent_config = task.agent_config
    return run


async def rollout(
    task: Task,
    agent: Agent | AgentFunction,
    *,
    runtime: Provider,
    job_id: str | None = None,
    group_id: str | None = None,
    trace_id: str | None = None,
    rollout_timeout: float | None = None,
) -> Run:
    """Run one task once and return what became of it; never raises for a failed rollout.

    The run is recorded like every other. `run.outcome` says whether it was graded, and if not,
    which boundary broke.

    Raises:
        ValueError: when the time limits contradict each other.
        StoreError: when the store cannot be opened, or cannot keep the run.
    """
    from hud.eval.recording import JobHold, default_sinks, job_row, working_on

    agent, runtime = as_agent(agent), as_provider(runtime)
    limits = Limits.of(task, agent, rollout_timeout)
    sinks = default_sinks()
    plan = Plan(task, agent, runtime, limits, sinks, task.digest())
    if job_id is not None:
        run = new_run(task, job_id=job_id, group_id=group_id, trace_id=trace_id)
        await play(run, plan)
        return run
    row = job_row(
        task.slug, agent=agent.name, model=model_of(agent), runtime=type(runtime).__name__
    )
    run = new_run(task, job_id=row.id, group_id=group_id, trace_id=trace_id)
    async with working_on(JobHold(), row, sinks):
        await play(run, plan)
    return run


async def play(run: Run, plan: Plan) -> None:
    """Do as `carry_out`; may be cancelled by anybody, and ends only when the run is over.

    Raises:
        StoreError: when the record cannot be kept.
    """
    interruption = Interruption()
    work = interruption.start(carry_out(run, plan, interruption))
    await outlast([work], [interruption])
    work.result()


async def carry_out(run: Run, plan: Plan, interruption: Interruption) -> None:
    """Take one run from nothing to its outcome, recorded durably.

    Runs in a task that `interruption` started. Cancelling it there ends the run with outcome
    `cancelled`, keeps it, and is passed on, unless the run alone was to be cancelled.

    Raises:
        StoreError: when the record cannot be kept.
    """
    if plan.hosting is not None:
        await plan.hosting.carry_out(run, plan, interruption)
        return
    interruption.begin()
    account = None if plan.meter is None else Account(plan.meter)

    def told(step: Step) -> None:
        if isinstance(step, AgentStep):
            interruption.turned(is_done=step.done)
        if account is not None:
            account(step)

    recorder = Recorder(run.trace, plan.sinks, told)
    run.started_at = _now()
    with (
        trace_context(recorder),
        cancellable_run(recorder.trace_id, interruption.cut_alone),
    ):
        recorder.put(_started(run, plan))
        fault, cancelled = await _attempt(run, plan, interruption)
        interruption.is_finishing = True
        if account is not None:
            account.settle(run.trace.steps)
        if recorder.failure is not None:
            raise recorder.failure
        if fault is not None and not run.is_graded:
            _conclude(run, fault)
        recorder.put(_ended(run, recorder))
        await _keep(recorder)
        if cancelled is not None or interruption.is_due:
            if cancelled is not None and interruption.takes_back():
                return
            raise cancelled or asyncio.CancelledError


async def _attempt(
    run: Run, plan: Plan, interruption: Interruption
) -> tuple[Fault | None, asyncio.CancelledError | None]:
    """Drive a run; return what broke, and whether it is to be passed on as a cancellation."""
    fault, cancelled = await _drive_bounded(run, plan, interruption)
    if fault is not None and interruption.was_cut and fault.outcome is not Outcome.CANCELLED:
        # What an agent makes of its own cancellation is no failure of anybody's.
        return fault_for(Outcome.CANCELLED, _why(interruption), phase_of(fault)), cancelled
    return fault, cancelled


def _why(interruption: Interruption) -> str:
    return interruption.reason or "the rollout was cancelled"


async def _drive_bounded(
    run: Run, plan: Plan, interruption: Interruption
) -> tuple[Fault | None, asyncio.CancelledError | None]:
    limit_s = plan.limits.rollout_s
    try:
        async with interruption.limit(limit_s):
            await _drive(run, plan, interruption)
    except Fault as error:
        return error, None
    except TimeoutError as error:
        message = f"the rollout took longer than {limit_s or math.nan:g} s"
        phase = phase_of(error.__cause__ or error.__context__ or error)
        return fault_for(Outcome.TIMEOUT, message, phase), None
    except asyncio.CancelledError as error:
        return fault_for(Outcome.CANCELLED, _why(interruption), phase_of(error)), error
    except Exception as error:
        logger.exception("a rollout of %s ended in an unexpected way", run.slug)
        return fault_for(Outcome.RUNTIME, describe(error), "rollout"), None
    return None, None


async def _drive(run: Run, plan: Plan, interruption: Interruption) -> None:
    """Hold a place and a connection around the three phases that the protocol knows."""
    placement = Placement(plan.runtime, plan.task, interruption)
    async with placement as client:
        run.place = placement.url
        run.attach(client)
        try:
            await _start(run)
            async with recording_files(run, client):
                await _act(run, plan, client)
                await _grade(run, plan, interruption)
        finally:
            run.attach(None)


async def _start(run: Run) -> None:
    with boundary(Outcome.ENVIRONMENT, "starting task"):
        await run.start()


async def _act(run: Run, plan: Plan, client: HudClient) -> None:
    """Let the agent work, until it returns, its time is up, or the environment is gone."""
    lost = client.lost
    clock = asyncio.timeout(plan.limits.agent_s)
    is_working = True
    answer: Any = None

    def stop(_: object) -> None:
        if is_working and not clock.expired():
            clock.reschedule(0)

    with boundary(Outcome.AGENT, "agent loop"):
        lost.add_done_callback(stop)
        try:
            async with clock:
                answer = await plan.agent(run)
        except Fault:
            raise
        except Exception as error:
            if lost.done():
                message = "the environment went away while the agent worked"
                raise RuntimeFault(message) from error
            if not clock.expired():
                raise
            logger.debug("stopped at its limit, the agent raised %s", describe(error))
        finally:
            is_working = False
            lost.remove_done_callback(stop)
        _take_answer(run, answer)
    if clock.expired() and not lost.done():
        run.trace.stop_reason = "timeout"
    elif run.trace.stop_reason is None:
        run.trace.stop_reason = "done"


def _take_answer(run: Run, answer: object) -> None:
    """Leave in the trace what the agent returned, unless it left its answer there itself.

    Raises:
        AgentFault: when the answer is nothing that can be graded.
    """
    trace = run.trace
    if trace.content is None and not isinstance(answer, Run | Trace):
        trace.content = cast("str | None", answer)
    content: Any = trace.content
    if content is None:
        return
    if not isinstance(content, str):
        trace.content = None
        raise AgentFault(
            f"the agent's answer is no text but {type(content).__name__}: {bounded(content)}",
            hint="return the answer as text, or set run.trace.content to it",
        )
    if len(content) > _LONG_ANSWER and len(json.encode(content)) > MAX_FRAME_BYTES - _ENVELOPE:
        raise AgentFault(
            f"the agent's answer has {len(content):,} characters, more than one frame of "
            f"{MAX_FRAME_BYTES:,} bytes holds"
        )


async def _grade(run: Run, plan: Plan, interruption: Interruption) -> None:
    interruption.is_finishing = True
    with boundary(Outcome.GRADER, "grading"):
        await run.finish()
    verifier = plan.task.verifier
    if verifier is not None:
        # Its environment grades the run once more, and this grade is the one that counts.
        async with Placement(plan.runtime, verifier, interruption) as client:
            with boundary(Outcome.GRADER, "verifying"):
                await _run_verifier(run, verifier, client)
    run.trace.status = "completed"
    run.outcome = Outcome.GRADED


async def _run_verifier(run: Run, verifier: Task, client: HudClient) -> None:
    frame = await client.start_task(verifier.id, verifier.args)
    setup = TaskCall(phase="setup", name=verifier.id, arguments=verifier.args, result=frame)
    run.record(Step(source="task", task_call=setup))
    payload = {"answer": run.grade.raw}
    result = await client.grade(payload)
    evaluate = TaskCall(phase="evaluate", name=verifier.id, arguments=payload, result=result)
    run.record(Step(source="task", task_call=evaluate))
    run.grade = Grade.from_dict(result)


def _conclude(run: Run, fault: Fault) -> None:
    run.outcome = fault.outcome
    run.may_pass = fault.may_pass
    run.grade = Grade.ungraded()
    run.trace.status = "cancelled" if fault.outcome is Outcome.CANCELLED else "error"
    # A message may quote what is no valid text; it is going to be printed.
    text = f"[{phase_of(fault)}] {fault.message}".encode("utf-8", "replace").decode()
    run.record(Step(source="system", error=text))


def _started(run: Run, plan: Plan) -> RunStarted:
    return RunStarted(
        trace_id=run.trace.trace_id or "",
        job_id=run.job_id or "",
        task_slug=plan.task.slug,
        task_id=plan.task.id,
        env=plan.task.env,
        started_at=run.started_at or 0,
        member=run.member,
        attempt=run.attempt,
        group_id=run.group_id,
        model=model_of(plan.agent),
        runtime=type(plan.runtime).__name__,
        task_digest=plan.task_digest,
        agent=plan.agent.name,
    )


def _ended(run: Run, recorder: Recorder) -> RunEnded:
    run.ended_at = _now()
    assert run.outcome is not None
    spent = Spent.of(run.trace.steps)
    reason: object = run.trace.stop_reason
    return RunEnded(
        trace_id=recorder.trace_id,
        job_id=run.job_id or "",
        status=run.trace.status or "error",
        outcome=run.outcome,
        ended_at=run.ended_at,
        reward=run.grade.reward if run.is_graded else None,
        stop_reason=None if reason is None else bounded(reason),
        error=None if run.is_graded else run.trace.error,
        evaluation=run.evaluation or None,
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
        cached_tokens=spent.cached_tokens,
        llm_calls=spent.llm_calls,
        cost_usd=spent.cost_usd,
        turns=spent.turns,
        unpriced_turns=spent.unpriced_turns,
        known_cost_usd=spent.known_cost_usd,
        extra=spell(run.trace.extra) if run.trace.extra else None,
    )


async def _keep(recorder: Recorder) -> None:
    """Wait until the run is durable, also while being cancelled: it counts only then."""
    try:
        await recorder.committed()
    except asyncio.CancelledError:
        await recorder.committed()
        raise


def _now() -> int:
    return time.time_ns() // 1_000
