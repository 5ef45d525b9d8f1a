"""RobotClient against a simulation with four slots, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud.capabilities import RobotClient
from hud.environment.robot import RobotEndpoint, gym_endpoint
from tests.conformance.subject import Subject
from tests.needs import need_module


async def use(client: RobotClient) -> None:
    seen = await client.get_observation(timeout_s=60)
    before = seen["data"]["place"][0]
    await client.send_action([1.0, 0.0])
    seen = await client.get_observation(timeout_s=60)
    assert seen["data"]["place"][0] == before + 1
    await client.send_action([0.0, 0.0])


@contextlib.asynccontextmanager
async def serve(folder: Path) -> AsyncGenerator[Subject[RobotClient]]:
    need_module("gymnasium")
    from tests.e2e.capabilities.robots import Point

    endpoint = gym_endpoint(Point, contract=None, num_envs=4, home=10_000, claim_wait_s=0.0)
    await endpoint.start()
    try:
        (row,) = await endpoint.capabilities()
        yield Subject(
            RobotClient, row, use, lambda: kill(endpoint), prepare=lambda: claim(endpoint)
        )
    finally:
        await endpoint.stop()


async def claim(endpoint: RobotEndpoint) -> dict[str, Any]:
    """Begin an episode, in the slot of one that nobody is connected to any more if need be."""
    return {"token": (await endpoint.reset())["token"]}


def kill(endpoint: RobotEndpoint) -> None:
    pid = endpoint.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
