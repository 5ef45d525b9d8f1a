"""One episode step by step: the robot waits for every action, and answers with what came of it.

Robots that move on by themselves are `realtime`; what is around an episode is `agent`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hud._core.errors import AgentFault, HudError, bounded
from hud.agents.robot.chunks import ActionQueue
from hud.protocol.openpi import load_numpy, to_numpy

if TYPE_CHECKING:
    from hud.agents.robot.adapter import ActionArray, Adapter
    from hud.agents.robot.config import RobotConfig
    from hud.agents.robot.dataset import DatasetWriter
    from hud.agents.robot.model import Model
    from hud.capabilities.robot import RobotClient
    from hud.trace.robot_recorder import TraceRecorder

logger = logging.getLogger(__name__)

Observation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """How an episode ended, after how many control ticks."""

    reason: Literal["done", "max_steps"]
    steps: int


@dataclass(slots=True, eq=False)
class Episode:
    """Everything one episode works with.

    Attributes:
        is_over: Whether to stop before acting: called with the observation and the tick.
        limit: Control ticks it may take.
    """

    robot: RobotClient
    model: Model
    adapter: Adapter | None
    prompt: str
    config: RobotConfig
    limit: float
    is_over: Callable[[Observation, int], bool]
    recorder: TraceRecorder
    writer: DatasetWriter | None = None
    log_every: int = 0

    async def drive(self, obs: Observation) -> Ending:
        """Act until the episode is over, from its first observation on."""
        queue = ActionQueue(replan_after=self.replan_after, ensemble=self.config.ensemble)
        step = 0
        while (ending := self.see(obs, step)) is None:
            if queue.is_due:
                planned = queue.put(await self.infer(obs))
                self.recorder.record_inference(planned, tick=step)
            action = self._adapted(queue.pop(), obs, step)
            if self.writer is not None:
                self.writer.add(obs["data"], action, task=self.prompt)
            await self.robot.send_action(action)
            obs = await self.robot.get_observation()
            step += 1
        return ending

    @property
    def replan_after(self) -> int | None:
        """Actions to carry out of each chunk; None is not said."""
        if self.config.replan_after is not None:
            return self.config.replan_after
        return None if self.adapter is None else self.adapter.chunk_size

    def see(self, obs: Observation, tick: int) -> Ending | None:
        """Record an observation; return how the episode ended if it is over."""
        self.recorder.record_observation(obs, tick=tick)
        if self.log_every > 0 and tick % self.log_every == 0:
            logger.info("robot %r: tick %d", self.robot.capability.name, tick)
        if obs["terminated"] or self.is_over(obs, tick):
            return Ending("done", tick)
        return Ending("max_steps", tick) if tick >= self.limit else None

    async def infer(self, obs: Observation) -> ActionArray:
        """Return the chunk `[T, D]`, in the robot's terms, that the policy infers.

        Raises:
            AgentFault: when the policy raises, or returns no chunk.
        """
        batch = obs if self.adapter is None else self.adapter.adapt_observation(obs, self.prompt)
        who = type(self.model).__name__
        try:
            found = await self.model.ainfer(batch)
        except HudError:
            raise
        except Exception as error:
            reason = bounded(str(error), 500)
            raise AgentFault(
                f"the policy {who} raised {type(error).__qualname__}: {reason}"
            ) from error
        chunk: Any = to_numpy(found)
        if chunk.ndim == 1:
            chunk = chunk[None]
        if chunk.ndim == 0 or len(chunk) == 0:
            raise AgentFault(f"the policy {who} returned an empty chunk")
        return chunk if self.adapter is None else self.adapter.adapt_chunk(chunk, obs)

    def _adapted(self, action: ActionArray, obs: Observation, tick: int) -> ActionArray:
        """Return an action as it is sent, recorded where that is not what was planned."""
        if self.adapter is None:
            return action
        adapted = self.adapter.adapt_action(action, obs)
        if not load_numpy().array_equal(adapted, action):
            self.recorder.record_inference(adapted, tick=tick)
        return adapted


def no_limit(max_steps: int) -> float:
    """Return a limit in ticks, where -1 is none."""
    return math.inf if max_steps < 0 else max_steps
