"""The agent that does nothing: what a grader gives for no answer is the floor of a task."""

from __future__ import annotations

from hud.agents.base import Agent
from hud.agents.run import Run


class NoopAgent(Agent):
    """Answer nothing: the template receives None."""

    @property
    def name(self) -> str:
        return "noop"

    async def __call__(self, run: Run) -> None:
        run.trace.stop_reason = "done"
