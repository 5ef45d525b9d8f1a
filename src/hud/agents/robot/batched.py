"""Many rollouts of one robot's agent, with one batched policy behind them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from hud.agents.base import Agent
from hud.agents.robot.batching import BatchedModel
from hud.agents.robot.config import RobotConfig
from hud.agents.run import Run

if TYPE_CHECKING:
    from hud.agents.robot.agent import RobotAgent


class BatchedAgent(Agent[RobotConfig]):
    """Drive rollouts as `agent` does, their inferences gathered by a `BatchedModel`.

    `agent` itself stays as it is. Run it with as much concurrency as a batch shall hold.

    Args:
        batch_size: The most rollouts that one inference holds; None is no limit. The first ones
            wait for as many to come.
        max_wait_s: How long a rollout waits for others, in seconds.
    """

    config_cls = RobotConfig

    def __init__(
        self, agent: RobotAgent, *, batch_size: int | None = None, max_wait_s: float = 0.05
    ) -> None:
        """Take an agent whose model is set.

        Raises:
            ValueError: when its model is missing, or takes one observation at a time.
        """
        if agent.model is None:
            raise ValueError("BatchedAgent: the agent has no model; set agent.model first")
        super().__init__(cast("RobotConfig | None", getattr(agent, "config", None)))
        self._original = agent
        self._agent = copy.copy(agent)
        self._batched = BatchedModel(agent.model, batch_size=batch_size, max_wait_s=max_wait_s)
        self._agent.model = self._batched

    @property
    def name(self) -> str:
        return self._original.name

    def check_ready(self) -> None:
        self._original.check_ready()

    def describe(self) -> dict[str, Any]:
        return self._original.describe()

    async def __call__(self, run: Run, **kwargs: Any) -> None:
        """Drive one rollout; `kwargs` go to the agent (`max_steps`)."""
        with self._batched.member():
            await self._agent(run, **kwargs)
