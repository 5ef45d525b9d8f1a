"""An agent for tests: it answers what it was told to, and remembers who asked."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

from hud._core.errors import AgentFault, bounded
from hud.agents.base import Agent
from hud.agents.run import Run
from hud.trace.steps import AgentStep

Answer = str | BaseException | None
Answers = (
    Answer | Sequence[Answer] | Mapping[str, Answer] | Callable[[Run], Answer | Awaitable[Answer]]
)


class ScriptedAgent(Agent):
    """Give prepared answers. An exception among them is raised; None leaves the answer out.

    Args:
        answers: One answer for every run; a sequence, one for each run in the order they start;
            a mapping by slug or template id; or a function of the run, async or not.

    Attributes:
        runs: Every run it was given, in the order they started.
    """

    def __init__(self, answers: Answers = "") -> None:
        self._answers = answers
        self.runs: list[Run] = []

    @property
    def name(self) -> str:
        return "scripted"

    async def __call__(self, run: Run) -> None:
        self.runs.append(run)
        answer = self._answer(run, len(self.runs) - 1)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        run.record(AgentStep(content=answer, done=True))
        run.trace.content = answer
        run.trace.stop_reason = "done"

    def _answer(self, run: Run, index: int) -> Answer | Awaitable[Answer]:
        answers = self._answers
        if answers is None or isinstance(answers, str | BaseException):
            return answers
        if isinstance(answers, Mapping):
            for key in (run.slug, run.task_id):
                if key is not None and key in answers:
                    return cast("Answer", answers[key])
            raise AgentFault(f"no answer is scripted for {bounded(run.slug or run.task_id)!r}")
        if not callable(answers):
            if index >= len(answers):
                raise AgentFault(
                    f"run {index + 1} started, but {len(answers)} answers are scripted"
                )
            return answers[index]
        return answers(run)
