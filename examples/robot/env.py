"""Push a T-shaped block onto its mark: gym-pusht as an environment, its simulator a process apart.

The agent sees the camera (`pixels`) and where the pusher is (`agent_pos`), and says where the
pusher should go. Whether the block is home is the simulator's word, which the agent cannot reach.

hud eval examples/robot/tasks.py oracle --all     pushes it home: 1.0
hud eval examples/robot/tasks.py noop --all       leaves it lying: 0.0
"""

import math
from collections.abc import AsyncGenerator
from typing import Any, Literal

from hud import Environment, Run
from hud.capabilities import RobotClient
from hud.graders import EvaluationResult

GOAL = (256.0, 256.0)
ANGLE = math.pi / 4
CENTRE = 45.0  # from the block's origin down its stem to its centre of gravity
STEP = 2.0  # pixels the pusher's target moves per action
Side = Literal["bar", "stem"]

env = Environment("push-t")
robot = env.gym("gym_pusht/PushT-v0", obs_type="pixels_agent_pos", contract=None)


def along(distance: float) -> tuple[float, float]:
    """Return the point that far from the goal along the stem of a block that lies as it should."""
    return GOAL[0] - math.sin(ANGLE) * distance, GOAL[1] + math.cos(ANGLE) * distance


def laid_out(distance: float, side: Side) -> list[float]:
    """Return the start: pusher x and y, block x, y and angle, as `reset_to_state` wants them.

    The block lies `distance` short of its mark, turned as it should be; the pusher stands behind.
    The simulator turns a block about its centre of gravity after placing it, hence the shift.
    """
    sign = -1 if side == "bar" else 1
    block = along(sign * distance)
    pusher = along(sign * distance + (-60.0 if side == "bar" else 180.0))
    shift = (CENTRE * math.sin(ANGLE), CENTRE * (1 - math.cos(ANGLE)))
    return [*pusher, block[0] - shift[0], block[1] - shift[1], ANGLE]


async def push(run: Run, distance: float, side: Side) -> None:
    """Walk straight over the mark, the block before it, until the simulator says it is there."""
    token = run.bindings["robot"]["token"]
    sign = 1 if side == "bar" else -1
    async with await RobotClient.connect(run.client.binding("robot"), token=token) as client:
        seen = await client.get_observation()
        x, y = (float(value) for value in seen["data"]["agent_pos"])
        while not seen["terminated"]:
            x -= sign * math.sin(ANGLE) * STEP
            y += sign * math.cos(ANGLE) * STEP
            await client.send_action([x, y])
            seen = await client.get_observation()


@env.template(solution=push)
async def push_t(
    distance: float = 60.0, side: Side = "bar"
) -> AsyncGenerator[dict[str, Any] | EvaluationResult, None]:
    """Push a block that lies straight but short of its mark."""
    info = await robot.reset(seed=0, options={"reset_to_state": laid_out(distance, side)})
    yield {
        "prompt": "Push the grey T onto the green one. An action is the point, in pixels from the "
        "top left of a 512 by 512 table, that the round pusher moves towards.",
        "bindings": {"robot": {"token": info["token"]}},
    }
    result = await robot.result(token=info["token"])
    covered = result["info"].get("coverage", 0.0)
    yield EvaluationResult(
        reward=result["score"],
        content=f"{covered:.0%} of the mark covered after {result['steps']} steps",
        info={"coverage": covered, "total_reward": result["total_reward"]},
    )
