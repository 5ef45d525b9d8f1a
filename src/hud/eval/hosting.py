"""Rollouts that a platform runs: asked for, waited for, and read back as runs.

Which rollouts, how many at once and when to stop is the schedule's part, as with any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from hud._core import json
from hud._core.errors import GraderFault, HudError, InputError
from hud._core.outcome import Outcome
from hud.agents.base import Agent, model_of
from hud.agents.grade import Grade
from hud.agents.noop import NoopAgent
from hud.agents.run import Run
from hud.api import calls
from hud.api.errors import PlatformError
from hud.api.place import PlatformPlace, required_place
from hud.api.replies import RunState
from hud.environment.task import Task
from hud.eval.cancelling import cancellable_run
from hud.eval.holding import Interruption
from hud.eval.hosted_results import USED
from hud.eval.spending import Spent
from hud.runtimes.hosted import HostedRuntime
from hud.trace.clock import micros
from hud.trace.steps import Step

if TYPE_CHECKING:
    from hud.api.client import PlatformClient
    from hud.eval.job import Job
    from hud.eval.rollout import Plan

logger = logging.getLogger(__name__)

_OVER = frozenset(("completed", "error", "cancelled"))
_FIRST_LOOK_S = 0.1
_SLOWER = 1.5
_HEARING_SLOWER = 6
_CANCEL_S = 5.0
_LISTEN_AGAIN_S = 2.0
_CONNECTIONS = 32
# Agents that a platform knows by name, with the module that their settings mean the same in.
_KNOWN = {
    "hud.agents.claude": "claude",
    "hud.agents.openai": "openai",
    "hud.agents.gemini": "gemini",
    "hud.agents.openai_chat": "openai_compatible",
}
_OURS = {"api_key", "base_url", "model_client", "hosted_tools", "gateway"}


def agent_ask(agent: Agent) -> dict[str, Any]:
    """Return an agent as data that a platform can make the same one of.

    Raises:
        InputError: for one whose code or tools are only here.
    """
    if type(agent) is NoopAgent:
        return {"type": "noop", "config": {}}
    kind = _KNOWN.get(type(agent).__module__)
    if kind is None:
        raise InputError(
            f"agent {agent.name} cannot run on a platform: its code is only here",
            hint=f"one of {', '.join((*_KNOWN.values(), 'noop'))}; or keep the agent here: "
            "HUDRuntime(), --runtime hud",
        )
    config: Any = agent.config
    if config.hosted_tools or config.model_client is not None:
        raise InputError(
            f"agent {agent.name} has tools or a client of its own, which stay here",
            hint="keep the agent here: HUDRuntime(), --runtime hud",
        )
    return {"type": kind, "config": config.model_dump(mode="json", exclude=_OURS)}


class Hosting:
    """Carries out the rollouts of one job on a platform. For one event loop.

    Attributes:
        place: Which platform.
    """

    def __init__(
        self,
        runtime: HostedRuntime,
        agent: Agent,
        *,
        retries: int = 0,
        place: PlatformPlace | None = None,
    ) -> None:
        """Choose how.

        Args:
            retries: Further attempts, by the platform, at runs that broke for what may pass.

        Raises:
            InputError: when no platform is configured, or the agent cannot run there.
        """
        self.place = place or required_place()
        self._runtime = runtime
        self._agent = agent_ask(agent)
        self._model = model_of(agent)
        self._retries = retries
        self._client: PlatformClient | None = None
        self._waiting: dict[str, asyncio.Event] = {}
        self._is_hearing = False
        self._spent = Spent()

    @contextlib.asynccontextmanager
    async def of_job(self, job: Job, taskset: str, agent: str) -> AsyncGenerator[None]:
        """Report a job while the block runs, and hear what becomes of its runs.

        Raises:
            PlatformError: when the platform does not hear of the job.
        """
        from hud.api.client import PlatformClient

        async with PlatformClient(self.place, connections=_CONNECTIONS) as client:
            self._client = client
            self._spent = job.meter.spent
            body = {
                "name": job.name,
                "group": job.group,
                "taskset_id": job.taskset_id,
                "taskset": taskset,
                "agent": agent,
                "model": self._model,
                "runtime": type(self._runtime).__name__,
            }
            await client.send(calls.job_enter(job.id, body))
            hearing = asyncio.create_task(self._hear(client, job.id))
            try:
                yield
            finally:
                hearing.cancel()
                await asyncio.wait([hearing])
                self._client = None

    async def carry_out(self, run: Run, plan: Plan, interruption: Interruption) -> None:
        """Do as `hud.eval.rollout.carry_out`, but for the record, which the platform keeps."""
        interruption.begin()
        run.started_at = _now()
        cancelled: asyncio.CancelledError | None = None
        run.place = f"hud://trace/{run.trace_id}"
        with cancellable_run(run.trace_id or "", interruption.cut_alone):
            try:
                async with interruption.limit(plan.limits.rollout_s):
                    state = await self._state_in_the_end(run, plan)
                _fold(run, state)
                self._spent.add(_used(state))
            except asyncio.CancelledError as error:
                cancelled = error
                await self._cancel(run, interruption)
                reason = interruption.reason or "the rollout was cancelled"
                _conclude(run, Outcome.CANCELLED, reason)
            except TimeoutError:
                await self._cancel(run, interruption)
                limit = plan.limits.rollout_s or 0.0
                _conclude(run, Outcome.TIMEOUT, f"the rollout took longer than {limit:g} s")
            except (PlatformError, HudError) as error:
                run.may_pass = False
                _conclude(run, Outcome.RUNTIME, error.message)
        run.ended_at = run.ended_at or _now()
        if cancelled is not None or interruption.is_due:
            if cancelled is not None and interruption.takes_back():
                return
            raise cancelled or asyncio.CancelledError

    async def _state_in_the_end(self, run: Run, plan: Plan) -> RunState:
        client, run_id = self._client, run.trace_id or ""
        assert client is not None
        news = self._waiting[run_id] = asyncio.Event()
        try:
            await client.send(calls.submit(self._body(run, plan.task, plan.limits.rollout_s)))
            pause = min(_FIRST_LOOK_S, self._runtime.poll_interval)
            while True:
                news.clear()
                state = await client.send(calls.run_state(calls.dashed(run_id)))
                if state.status in _OVER:
                    return state
                longest = self._runtime.poll_interval
                if self._is_hearing:
                    longest *= _HEARING_SLOWER
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(longest if self._is_hearing else pause):
                        await news.wait()
                pause = min(pause * _SLOWER, longest)
        finally:
            del self._waiting[run_id]

    def _body(self, run: Run, task: Task, limit_s: float | None) -> Mapping[str, Any]:
        row = task.to_row()
        agent = self._agent
        if task.agent_config:
            agent = {**agent, "config": {**agent["config"], **task.agent_config}}
        return {
            "trace_id": calls.dashed(run.trace_id or ""),
            "job_id": calls.dashed(run.job_id or ""),
            "env": task.env,
            "task": task.id,
            "slug": task.slug,
            "args": row.get("args") or {},
            "agent": agent,
            "group_id": run.group_id,
            "agent_config": row.get("agent_config") or None,
            "runtime_config": row.get("runtime_config") or None,
            "verifier": row.get("verifier"),
            "rollout_timeout": limit_s,
            "retries": self._retries,
        }

    async def _cancel(self, run: Run, interruption: Interruption) -> None:
        """Have the platform end a run; it may not hear of it, and ends it by its limits then."""
        client = self._client
        if client is None:
            return
        with interruption:
            try:
                async with asyncio.timeout(_CANCEL_S):
                    await client.send(calls.cancel_run(run.trace_id or "", run.job_id))
            except (HudError, TimeoutError) as error:
                logger.warning("run %s was not cancelled: %s", run.trace_id, error)

    async def _hear(self, client: PlatformClient, job_id: str) -> None:
        """Wake whoever waits for a run that something was said of; without news, they look."""
        while True:
            try:
                async for name, data in client.events(f"/jobs/{job_id}/events"):
                    self._is_hearing = True
                    self._told(name, data)
            except PlatformError as error:
                logger.debug("no news of job %s: %s", job_id, error)
            self._is_hearing = False
            self._wake_all()
            await asyncio.sleep(_LISTEN_AGAIN_S)

    def _told(self, name: str, data: bytes) -> None:
        if name == "run":
            with contextlib.suppress(ValueError, TypeError, KeyError):
                found: Any = json.decode(data)
                if (event := self._waiting.get(found["id"])) and found["status"] in _OVER:
                    event.set()
        elif name != "job":  # what was said before may have been missed
            self._wake_all()

    def _wake_all(self) -> None:
        for event in self._waiting.values():
            event.set()


def _fold(run: Run, state: RunState) -> None:
    """Read how a run ended into `run`; a reward without a grade is none."""
    run.trace.status = "completed"
    if state.status == "error":
        run.trace.status = "error"
    elif state.status == "cancelled":
        run.trace.status = "cancelled"
    run.trace.stop_reason = cast("Any", state.stop_reason)
    run.trace.extra[USED] = asdict(_used(state))
    run.started_at = _moment(state.start_time) or run.started_at
    run.ended_at = _moment(state.end_time)
    if state.attempt is not None:
        run.attempt = state.attempt
    if state.member is not None:
        run.member = state.member
    evaluation = state.evaluation_result
    if evaluation is not None and state.outcome in (None, Outcome.GRADED.value):
        with contextlib.suppress(GraderFault):
            run.grade = Grade.from_dict(evaluation)
            run.outcome = Outcome.GRADED
            return
    outcome = _outcome(state)
    _conclude(run, outcome, state.error or "the platform gives no grade and no reason")


def _moment(text: str | None) -> int | None:
    """Read a time that a platform may leave out, or spell in a way of its own."""
    try:
        return None if text is None else micros(text)
    except ValueError:
        return None


def _used(state: RunState) -> Spent:
    return Spent(
        state.prompt_tokens,
        state.completion_tokens,
        state.cached_tokens,
        state.llm_calls,
        state.turns,
        state.unpriced_turns,
        state.known_cost_usd,
    )


def _outcome(state: RunState) -> Outcome:
    if state.status == "cancelled":
        return Outcome.CANCELLED
    try:
        said = Outcome(state.outcome)
    except ValueError:
        return Outcome.RUNTIME
    return Outcome.GRADER if said is Outcome.GRADED else said


def _conclude(run: Run, outcome: Outcome, error: str) -> None:
    run.outcome = outcome
    run.grade = Grade.ungraded()
    run.trace.status = "cancelled" if outcome is Outcome.CANCELLED else "error"
    run.record(Step(source="system", error=error))


def _now() -> int:
    return time.time_ns() // 1_000
