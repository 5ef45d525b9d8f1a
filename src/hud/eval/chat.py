"""A conversation with an agent in an environment: one rollout per turn, one job in all."""

from __future__ import annotations

from typing import Any

from hud._core.errors import AgentFault
from hud.agents.base import Agent
from hud.environment.task import Task
from hud.eval.job import Job
from hud.eval.taskset import Taskset
from hud.runtimes.base import Provider
from hud.trace.steps import Trace

MessageContent = str | dict[str, Any] | list[dict[str, Any]]


class Chat:
    """Talk to an agent turn by turn.

    Each `send` runs `task` once with the conversation so far as its `messages` argument. One at
    a time.

    Attributes:
        messages: The conversation, `{"role", "content"}` each.
        job: The job all turns belong to, or None before the first.
    """

    def __init__(self, task: Task, agent: Agent, /, *, runtime: Provider | None = None) -> None:
        self._task = task
        self._agent = agent
        self._runtime = runtime
        self.messages: list[dict[str, Any]] = []
        self.job: Job | None = None

    async def send(self, message: MessageContent) -> Trace:
        """Add the user's message, run one turn, add the answer, and return the turn's trace.

        Raises:
            ValueError: when no runtime was given.
            AgentFault: when the turn ended ungraded; the message is then taken back.
        """
        if self._runtime is None:
            raise ValueError("Chat.send needs a runtime: Chat(task, agent, runtime=…)")
        if self.job is None:
            self.job = await Job.start(f"chat: {self._task.slug}")
        messages = [*self.messages, {"role": "user", "content": message}]
        task = self._task.model_copy(update={"args": {**self._task.args, "messages": messages}})
        turns = Taskset(task.slug, [task.bound_to(self._task.environment)])
        before = len(self.job.runs)
        await turns.run(self._agent, runtime=self._runtime, group=1, job=self.job)
        run = self.job.runs[before]
        if not run.is_graded:
            raise AgentFault(f"the turn ended without an answer: {run.trace.error}")
        answer = {"role": "assistant", "content": run.trace.content or ""}
        self.messages += [messages[-1], answer]
        return run.trace
