"""gym-pusht with pixels: one simulation, or eight slots of one environment."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from typing import Any

from hud import Environment
from hud.environment.robot import gym_endpoint

env = Environment(name="pusht")
slots = int(os.environ.get("BENCH_SLOTS", "1"))
robot = env.add_daemon(
    gym_endpoint(
        "gym_pusht/PushT-v0",
        obs_type="pixels_agent_pos",
        contract=None,
        num_envs=slots if slots > 1 else None,
    )
)


@env.template()
async def push(seed: int = 0) -> AsyncGenerator[Any, Any]:
    info = await robot.reset(seed=seed)
    yield {"prompt": "push", "bindings": {"robot": {"token": info["token"]}}}
    result = await robot.result(token=info["token"])
    yield {"score": result["score"], "info": {"steps": result["steps"]}}
