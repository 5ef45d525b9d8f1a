"""A table whose pusher jams on the way: a robot that breaks while an agent works with it."""

import importlib
from collections.abc import AsyncGenerator
from typing import Any

from hud import Environment

JAMS_AT = 24
Table: Any = importlib.import_module("gym_pusht.envs.pusht").PushTEnv


class Jamming(Table):
    """Work for so many ticks, then never again."""

    ticks = 0

    def step(self, action: Any) -> Any:
        self.ticks += 1
        if self.ticks > JAMS_AT:
            raise RuntimeError("the pusher is jammed: motor 2 draws 4.1 A and does not turn")
        works: Any = super()
        return works.step(action)


env = Environment("worn-table")
table = env.gym(Jamming, obs_type="pixels_agent_pos", contract=None)


@env.template()
async def push_worn() -> AsyncGenerator[dict[str, Any] | float, None]:
    """Push a block on a table that should have been repaired."""
    info = await table.reset(seed=3)
    yield {
        "prompt": "Push the grey T onto the green one.",
        "bindings": {"robot": {"token": info["token"]}},
    }
    yield (await table.result(token=info["token"]))["score"]


tasks = [push_worn().model_copy(update={"slug": "robot-worn-table"})]
