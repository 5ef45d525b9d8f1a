"""Eight tables side by side: one vector simulation of gym-pusht, a slot of it for each episode.

A tick moves all tables at once, so the simulation waits until every policy has said what to do.

hud eval examples/robot_policy/tasks.py examples/robot_policy/policy.py:agent --all
"""

import math
from collections.abc import AsyncGenerator
from typing import Any, Literal

from hud import Environment
from hud.graders import EvaluationResult

MARK = (256.0, 256.0)  # where the block belongs, turned by 45 degrees
ALONG = (-math.sqrt(0.5), math.sqrt(0.5))  # the way its stem then points
CENTRE = 45.0  # from its origin down the stem to its centre of gravity
Side = Literal["bar", "stem"]

env = Environment("push-t-tables")
tables = env.gym(
    "gym_pusht/PushT-v0",
    obs_type="pixels_agent_pos",
    contract=None,
    num_envs=8,
    vectorization_mode="sync",
)


def laid_out(distance: float, side: Side) -> list[float]:
    """Return pusher x and y, block x, y and angle: the block short of its mark, the pusher behind.

    The simulator turns a block about its centre of gravity after placing it, hence the shift.
    """
    sign = -1 if side == "bar" else 1
    behind = -60.0 if side == "bar" else 180.0
    block_x, block_y = (m + sign * distance * a for m, a in zip(MARK, ALONG, strict=True))
    pusher = [m + (sign * distance + behind) * a for m, a in zip(MARK, ALONG, strict=True)]
    return [*pusher, block_x + CENTRE * ALONG[0], block_y - CENTRE * (1 - ALONG[1]), math.pi / 4]


@env.template()
async def push_t(
    distance: float, side: Side
) -> AsyncGenerator[dict[str, Any] | EvaluationResult, None]:
    """Push a block that lies straight but short of its mark."""
    info = await tables.reset(seed=0, options={"reset_to_state": laid_out(distance, side)})
    yield {
        "prompt": "Push the grey T onto the green one.",
        "bindings": {"robot": {"token": info["token"]}},
    }
    result = await tables.result(token=info["token"])
    covered = result["info"].get("coverage", 0.0)
    yield EvaluationResult(
        reward=result["score"],
        content=f"{covered:.0%} of the mark covered after {result['steps']} steps",
    )
