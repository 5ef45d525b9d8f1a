"""A run: one rollout as its agent sees it, and as it is kept afterwards.

The engine that places, times and records rollouts is `hud.eval.rollout`; it fills a run in.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, Self

from hud._core.errors import AgentFault, EnvironmentFault, Fault, HudError
from hud._core.outcome import Outcome
from hud.agents.grade import Grade
from hud.clients.client import HudClient
from hud.protocol.frames import HudProtocolError
from hud.trace.content import PromptMessage, TextContent, as_message
from hud.trace.steps import Step, TaskCall, Trace, Usage, usages_of


class Run:
    """One rollout of one task.

    An agent reads `prompt` (or `prompt_text`, `prompt_messages`), works through `client`, records
    steps, and leaves its answer in `trace.content`.

    By hand it is a block: `async with Run(client, task_id, args) as run:` starts the task, and
    grades it when the block ends. A block that raises is not graded (with `best_effort_grade` it
    is, where possible), and its exception is passed on.

    Attributes:
        prompt: What the template yielded: text, or a list of messages. None before the start.
        bindings: Per-episode data by capability name.
        grade: The grade; its reward is NaN while ungraded.
        outcome: How the run ended, or None while it is under way.
        may_pass: Of a run that broke: whether another attempt may go better.
        member: 0-based index among the repeats of its task.
        attempt: 1-based number of this attempt at its member.
        agent_config: The task row's own settings for the agent.
        depth: 0 for a rollout's own run, one more for every run within.
    """

    def __init__(
        self,
        client: HudClient | None,
        task_id: str,
        args: dict[str, Any],
        *,
        best_effort_grade: bool = False,
    ) -> None:
        self._client = client
        self._task_id = task_id
        self.args = args
        self._best_effort_grade = best_effort_grade
        self.prompt: str | list[Any] | None = None
        self.bindings: dict[str, dict[str, Any]] = {}
        self.grade = Grade.ungraded()
        self.trace = Trace()
        self.outcome: Outcome | None = None
        self.may_pass = True
        self.job_id: str | None = None
        self.group_id: str | None = None
        self.slug: str | None = None
        self.env: str | None = None
        self.member = 0
        self.attempt = 1
        self.agent_config: dict[str, Any] | None = None
        self.depth = 0
        self.place: str | None = None
        self.started_at: int | None = None
        self.ended_at: int | None = None

    def __repr__(self) -> str:
        state = self.outcome.value if self.outcome else "running"
        return f"<Run {self.slug or self._task_id!r} {state} reward={self.reward:g}>"

    @property
    def client(self) -> HudClient:
        """The connection to the environment.

        Raises:
            AgentFault: when the run is not connected.
        """
        if self._client is None:
            raise AgentFault(f"run of {self._task_id!r} is not connected to an environment")
        return self._client

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to the environment."""
        return self._client is not None

    def attach(self, client: HudClient | None) -> None:
        """Give the run its connection, or take it away."""
        self._client = client

    @property
    def task_id(self) -> str:
        return self._task_id

    @property
    def reward(self) -> float:
        """The reward, NaN unless the run is graded."""
        return self.grade.reward if self.is_graded else math.nan

    @property
    def is_graded(self) -> bool:
        return self.outcome is Outcome.GRADED

    @property
    def evaluation(self) -> dict[str, Any]:
        """The grade frame without the info of its subscores; empty while ungraded."""
        return self.grade.evaluation

    @property
    def trace_id(self) -> str | None:
        return self.trace.trace_id

    @property
    def runtime(self) -> str | None:
        """Where the run was placed: its runtime's address."""
        return self.place

    @property
    def prompt_messages(self) -> list[PromptMessage]:
        """The prompt as messages."""
        if self.prompt is None:
            return []
        items = self.prompt if isinstance(self.prompt, list) else [self.prompt]
        return [as_message(item) for item in items]

    @property
    def prompt_text(self) -> str:
        """The prompt's text, messages joined by blank lines."""
        if isinstance(self.prompt, str):
            return self.prompt
        texts = [
            message.content.text
            for message in self.prompt_messages
            if isinstance(message.content, TextContent)
        ]
        return "\n\n".join(texts)

    @property
    def usage(self) -> Usage:
        """Tokens and money of all model turns; `cost_usd` is None when any turn's is unknown."""
        turns = [usage for step in self.trace.steps for usage in usages_of(step)]
        if not turns:
            return Usage(prompt_tokens=0, completion_tokens=0, cached_tokens=0, llm_call_count=0)
        costs = [turn.cost_usd for turn in turns if turn.cost_usd is not None]
        return Usage(
            prompt_tokens=sum(turn.prompt_tokens or 0 for turn in turns),
            completion_tokens=sum(turn.completion_tokens or 0 for turn in turns),
            cached_tokens=sum(turn.cached_tokens or 0 for turn in turns),
            cost_usd=math.fsum(costs) if len(costs) == len(turns) else None,
            llm_call_count=sum(turn.llm_call_count or 1 for turn in turns),
        )

    def record(self, step: Step) -> None:
        """Record a step on the run's trace."""
        self.trace.record(step)

    def within(self, prompt: str) -> Run:
        """Return a run within this one, on the same environment, for a subagent to work on.

        It has a trace of its own, which is recorded where the caller puts it.
        """
        inner = Run(self._client, self._task_id, self.args)
        inner.prompt, inner.bindings, inner.depth = prompt, self.bindings, self.depth + 1
        inner.job_id, inner.slug, inner.env = self.job_id, self.slug, self.env
        inner.member = self.member
        return inner

    async def start(self) -> None:
        """Start the task and take its prompt in.

        Raises:
            HudProtocolError: when the environment refuses or its code raises.
            EnvironmentFault: when the prompt is no text and no list of messages.
        """
        frame = await self.client.start_task(self._task_id, self.args)
        self.record(
            Step(
                source="task",
                task_call=TaskCall(
                    phase="setup", name=self._task_id, arguments=self.args, result=frame
                ),
            )
        )
        prompt = frame["prompt"]
        self.prompt = prompt if isinstance(prompt, str | list) else [prompt]
        self.bindings = frame.get("bindings") or {}
        try:
            messages = self.prompt_messages
        except ValueError as error:
            raise EnvironmentFault(
                f"the prompt of {self._task_id!r} is no list of messages: {error}"
            ) from error
        self.record(Step(source="user", messages=messages))

    async def finish(self) -> None:
        """Send the answer in and take the grade.

        Raises:
            HudProtocolError: when the environment refuses or grading raises.
            GraderFault: when the grade frame has no finite score.
        """
        payload = {"answer": self.trace.content}
        frame = await self.client.grade(payload)
        self.record(
            Step(
                source="task",
                task_call=TaskCall(
                    phase="evaluate", name=self._task_id, arguments=payload, result=frame
                ),
            )
        )
        self.grade = Grade.from_dict(frame)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, tb: object) -> None:
        if error is not None:
            self._end(error, Outcome.AGENT)
            if not (self._best_effort_grade and isinstance(error, Exception)):
                return
        try:
            await self.finish()
        except HudError as failure:
            if error is None:
                self._end(failure, Outcome.GRADER)
                raise
            return
        self.outcome = Outcome.GRADED
        if error is None:
            self.trace.status = "completed"

    def _end(self, error: BaseException, default: Outcome) -> None:
        is_cancelled = isinstance(error, asyncio.CancelledError)
        self.outcome = Outcome.CANCELLED if is_cancelled else _outcome_of(error) or default
        self.trace.status = "cancelled" if is_cancelled else "error"
        self.grade = Grade.ungraded()

    @classmethod
    def failed(cls, error: str | Fault, *, outcome: Outcome = Outcome.RUNTIME) -> Run:
        """Return a run that ended before it began."""
        run = cls(None, "", {})
        if isinstance(error, Fault):
            outcome, error = error.outcome, error.message
        run.outcome = outcome
        run.trace.status = "error"
        run.record(Step(source="system", error=error))
        return run


def _outcome_of(error: BaseException) -> Outcome | None:
    """Return the boundary an error names by itself."""
    if isinstance(error, HudProtocolError):
        return error.boundary
    return error.outcome if isinstance(error, Fault) else None
