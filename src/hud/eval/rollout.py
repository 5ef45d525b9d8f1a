"""One rollout, start to end: place, connect, start, agent, grade, tear down, keep.

One function per phase, each with its own limit and its own boundary. A rollout never raises for
what went wrong in it: the run it returns says so. Scheduling many is `schedule`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from hud._core.errors import Fault, RolloutCancelled, RolloutTimeout, RuntimeFault
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.agents.base import Agent, AgentFunction, as_agent
from hud.agents.grade import Grade
from hud.agents.run import Run
from hud.clients.client import HudClient
from hud.clients.connect import connect
from hud.environment.task import Task
from hud.eval.boundary import boundary, phase_of
from hud.runtimes.base import Provider, Runtime
from hud.trace.context import trace_context
from hud.trace.recorder import Recorder
from hud.trace.sinks import RunEnded, RunStarted, Sink
from hud.trace.steps import Step, TaskCall

logger = logging.getLogger(__name__)

GOODBYE_S = 10.0


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
            ValueError: when the agent's limit is not below the rollout's, or the task's own.
        """
        config = task.agent_config or {}
        own = getattr(getattr(agent, "config", None), "timeout_seconds", None)
        agent_s = config.get("timeout_seconds", own)
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


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one attempt needs, decided beforehand."""

    task: Task
    agent: Agent
    runtime: Provider
    limits: Limits
    sinks: Sequence[Sink]
    task_digest: str | None = None


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
    from hud.eval.recording import default_sinks, recorded_job

    agent = as_agent(agent)
    limits = Limits.of(task, agent, rollout_timeout)
    sinks = default_sinks()
    if job_id is None:
        job_id = recorded_job(sinks, task.slug, agent=agent.name, model=agent.model)
    run = new_run(task, job_id=job_id, group_id=group_id, trace_id=trace_id)
    await carry_out(run, Plan(task, agent, runtime, limits, sinks, task.digest()))
    return run


async def carry_out(run: Run, plan: Plan) -> None:
    """Take one run from nothing to its outcome, recorded durably.

    Cancellation ends the run with outcome `cancelled`, keeps it, and is passed on.

    Raises:
        StoreError: when the record cannot be kept.
    """
    recorder = Recorder(run.trace, plan.sinks)
    run.started_at = _now()
    with trace_context(recorder):
        recorder.put(_started(run, plan))
        fault: Fault | None = None
        cancelled: asyncio.CancelledError | None = None
        try:
            async with asyncio.timeout(plan.limits.rollout_s):
                await _drive(run, plan)
        except Fault as error:
            fault = error
        except TimeoutError:
            fault = RolloutTimeout(f"the rollout took longer than {plan.limits.rollout_s:g} s")
        except asyncio.CancelledError as error:
            cancelled = error
            fault = RolloutCancelled("the rollout was cancelled")
        if fault is not None and not run.is_graded:
            _conclude(run, fault)
        recorder.put(_ended(run))
        await _keep(recorder)
        if cancelled is not None:
            raise cancelled


async def _drive(run: Run, plan: Plan) -> None:
    """Hold a place and a connection around the three phases that the protocol knows."""
    manager, place = await _place(plan.runtime, plan.task, "provisioning")
    run.place = place.url
    failure: BaseException | None = None
    try:
        client, connection = await _connect(place)
        try:
            run.attach(client)
            await _start(run)
            await _act(run, plan, client)
            await _grade(run, plan)
        finally:
            run.attach(None)
            await _hang_up(client, connection)
    except RuntimeFault as fault:
        failure = fault
        raise await _explained(fault, place) from fault
    except BaseException as error:
        failure = error
        raise
    finally:
        await _tear_down(manager, failure)


async def _place(
    provider: Provider, task: Task, phase: str
) -> tuple[AbstractAsyncContextManager[Runtime], Runtime]:
    with boundary(Outcome.RUNTIME, phase):
        manager = provider(task)
        return manager, await manager.__aenter__()


async def _tear_down(
    manager: AbstractAsyncContextManager[Runtime], error: BaseException | None
) -> None:
    """Leave a place; what fails here after the work is logged, never a lost grade."""
    try:
        await manager.__aexit__(
            None if error is None else type(error),
            error,
            None if error is None else error.__traceback__,
        )
    except Exception as failure:
        if failure is not error:
            logger.warning("tearing a place down failed: %s", failure)


async def _connect(place: Runtime) -> tuple[HudClient, connect]:
    connection = connect(place)
    with boundary(Outcome.RUNTIME, "connecting"):
        return await connection.__aenter__(), connection


async def _hang_up(client: HudClient, connection: connect) -> None:
    """Say bye, so that no suspended task stays behind, and close; neither can hurt the run."""
    try:
        if not client.lost.done():
            async with asyncio.timeout(GOODBYE_S):
                await client.bye()
    except Exception as error:
        logger.debug("bye failed: %s", error)
    finally:
        await connection.__aexit__(None, None, None)


async def _start(run: Run) -> None:
    with boundary(Outcome.ENVIRONMENT, "starting task"):
        await run.start()


async def _act(run: Run, plan: Plan, client: HudClient) -> None:
    """Let the agent work, until it returns, its time is up, or the environment is gone."""
    lost = client.lost
    with boundary(Outcome.AGENT, "agent loop"):
        clock = asyncio.timeout(plan.limits.agent_s)
        try:
            async with clock:
                loop = asyncio.get_running_loop()

                def stop(_: object) -> None:
                    clock.reschedule(loop.time())

                lost.add_done_callback(stop)
                try:
                    answer = await plan.agent(run)
                finally:
                    lost.remove_done_callback(stop)
        except TimeoutError:
            if not clock.expired():
                raise
            if lost.done():
                raise RuntimeFault("the environment went away while the agent worked") from None
            run.trace.stop_reason = "timeout"
            return
    if run.trace.content is None and isinstance(answer, str):
        run.trace.content = answer
    if run.trace.stop_reason is None:
        run.trace.stop_reason = "done"


async def _grade(run: Run, plan: Plan) -> None:
    with boundary(Outcome.GRADER, "grading"):
        await run.finish()
    if plan.task.verifier is not None:
        await _verify(run, plan, plan.task.verifier)
    run.trace.status = "completed"
    run.outcome = Outcome.GRADED


async def _verify(run: Run, plan: Plan, verifier: Task) -> None:
    """Grade the run once more in the verifier's environment: its grade is the one that counts."""
    manager, place = await _place(plan.runtime, verifier, "provisioning the verifier")
    error: BaseException | None = None
    try:
        client, connection = await _connect(place)
        try:
            with boundary(Outcome.GRADER, "verifying"):
                await _run_verifier(run, verifier, client)
        finally:
            await _hang_up(client, connection)
    except BaseException as failure:
        error = failure
        raise
    finally:
        await _tear_down(manager, error)


async def _run_verifier(run: Run, verifier: Task, client: HudClient) -> None:
    frame = await client.start_task(verifier.id, verifier.args)
    setup = TaskCall(phase="setup", name=verifier.id, arguments=verifier.args, result=frame)
    run.record(Step(source="task", task_call=setup))
    payload = {"answer": run.grade.raw}
    result = await client.grade(payload)
    evaluate = TaskCall(phase="evaluate", name=verifier.id, arguments=payload, result=result)
    run.record(Step(source="task", task_call=evaluate))
    run.grade = Grade.from_dict(result)


async def _explained(fault: RuntimeFault, place: Runtime) -> RuntimeFault:
    """Add what the provider knows of a place that vanished; see `Runtime.params`."""
    reason: Any = place.params.get("exit_reason")
    if reason is None:
        return fault
    wait = getattr(reason, "wait", None)
    text = await wait() if wait is not None else reason()
    if not text:
        return fault
    explained = RuntimeFault(f"{fault.message}: {text}", hint=fault.hint)
    explained.add_note(phase_of(fault))
    return explained


def _conclude(run: Run, fault: Fault) -> None:
    run.outcome = fault.outcome
    run.grade = Grade.ungraded()
    run.trace.status = "cancelled" if fault.outcome is Outcome.CANCELLED else "error"
    run.record(Step(source="system", error=f"[{phase_of(fault)}] {fault.message}"))


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
        model=plan.agent.model,
        runtime=type(plan.runtime).__name__,
        task_digest=plan.task_digest,
    )


def _ended(run: Run) -> RunEnded:
    run.ended_at = _now()
    assert run.outcome is not None
    usage = run.usage
    return RunEnded(
        trace_id=run.trace.trace_id or "",
        job_id=run.job_id or "",
        status=run.trace.status or "error",
        outcome=run.outcome,
        ended_at=run.ended_at,
        reward=run.grade.reward if run.is_graded else None,
        stop_reason=run.trace.stop_reason,
        error=None if run.is_graded else run.trace.error,
        evaluation=run.evaluation or None,
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens=usage.cached_tokens or 0,
        llm_calls=usage.llm_call_count or 0,
        cost_usd=usage.cost_usd,
        extra=run.trace.extra or None,
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
