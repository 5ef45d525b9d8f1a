"""A policy by rule, in the place of a trained one, and the adapter between it and the robot.

The model knows nothing of this robot: it is shown where the pusher is in -1..1 and says where the
pusher should go, a chunk of eight places at a time, in -1..1 too. It infers for any number of
rollouts at once and keeps nothing between two inferences.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hud.agents.robot import Adapter, Model, RobotAgent, ScaledAdapter

CHUNK = 8
STRIDE = 2 / 256  # from one place to the next
ALONG = np.array([-math.sqrt(0.5), math.sqrt(0.5)])  # the way the block lies


class Straight(Model):
    """Walk along the block's stem towards the middle of the table, whatever lies in between.

    Attributes:
        batches: How many rollouts each inference so far was for.
    """

    def __init__(self) -> None:
        self.batches: list[int] = []

    def infer(self, batch: Any) -> NDArray[Any]:
        """Return a chunk `[N, T, 2]` for each pusher `[N, 2]` (or `[2]`, which is N = 1)."""
        pusher = np.atleast_2d(batch["pusher"])
        self.batches.append(len(pusher))
        towards = -np.sign(pusher @ ALONG)[:, None] * ALONG
        ahead = STRIDE * np.arange(1, CHUNK + 1)[None, :, None]
        return pusher[:, None] + ahead * towards[:, None]


class Table(Adapter):
    """Show the policy the pusher's place, scaled by the bounds that the contract gives."""

    def adapt_observation(self, obs: dict[str, Any], prompt: str) -> dict[str, Any]:
        low, high = (np.array(self.action_space["stats"][name]) for name in ("low", "high"))
        return {"pusher": 2 * (obs["data"]["agent_pos"] - low) / (high - low) - 1}


agent = RobotAgent(model=Straight(), adapter=ScaledAdapter(Table(chunk_size=4)))
