"""The published client and ours meet over a robot, each on either side."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import CapabilityFault
from hud.capabilities import RobotClient
from hud.environment import Environment
from hud.environment.robot import RobotEndpoint, gym_endpoint
from hud.environment.server import bind
from tests.e2e.capabilities.test_robot import DEADLINE_S, running, step
from tests.needs import missing, need_module
from tests.wire.peer.theirs import program

np = need_module("numpy")
need_module("gymnasium")

from tests.e2e.capabilities import robots  # noqa: E402 — needs gymnasium

Steps = AsyncGenerator[Any, Any]


@pytest.fixture(scope="module")
def robot_python(peer_python: Path) -> Path:
    """Return the interpreter of the published client, when it holds the robot parts too."""
    code = "import openpi_client.msgpack_numpy, gymnasium, hud.environment.robot"
    done = subprocess.run([str(peer_python), "-c", code], capture_output=True, check=False)
    if done.returncode:
        missing("openpi-client and gymnasium beside the published client")
    return peer_python


@contextlib.asynccontextmanager
async def served(**kwargs: Any) -> AsyncGenerator[str]:
    """Serve an environment with a robot; yield its address."""
    env = Environment("arm")
    robot = env.add_daemon(gym_endpoint(robots.Point, contract=None, **kwargs))

    @env.template()
    async def reach(seed: int = 0) -> Steps:
        info = await robot.reset(seed=seed)
        yield {"prompt": "go", "bindings": {"robot": {"token": info["token"]}}}
        result = await robot.result(token=info["token"])
        yield {"score": result["score"], "info": {"reward": result["total_reward"]}}

    del reach
    async with bind(env) as url:
        yield url


async def test_their_client_drives_our_robot(tmp_path: Path, robot_python: Path) -> None:
    text = """
import numpy as np
from hud.capabilities import RobotClient

async def main(url):
    async with connect(Runtime(url)) as client:
        frame = await client.start_task("reach", {"seed": 4})
        row = client.binding("robot")
        robot = await RobotClient.connect(row, token=frame["bindings"]["robot"]["token"])
        action, observed = robot.spaces()
        say([action["names"], sorted(observed), robot.get_control_rate()])
        seen = await robot.get_observation()
        say([seen["data"]["place"].tolist(), str(seen["data"]["camera"].dtype),
             list(seen["data"]["camera"].shape), seen["terminated"]])
        places = []
        while not seen["terminated"]:
            await robot.send_action(np.array([1.0, 0.5], np.float32))
            seen = await robot.get_observation()
            places.append(seen["data"]["place"].tolist())
        say(places)
        await robot.close()
        say(await client.grade({"answer": None}))

        frame = await client.start_task("reach", {})
        robot = await RobotClient.connect(row)
        await robot.get_observation()
        await robot.send_chunk(np.ones((3, 2)))
        seen = await robot.get_observation()
        say(seen["data"]["place"].tolist())
        await robot.send_action(np.array([9.0, 0.0], np.float32))
        try:
            await robot.get_observation()
        except Exception as error:
            say(str(error))
        await robot.close()
        try:
            await RobotClient.connect(row, token="wrong")
        except Exception as error:
            say(str(error))
"""
    async with served() as url, program(robot_python, tmp_path, text, url) as theirs:
        names, observed, rate = await theirs.said()
        assert (names, rate) == (["act_0", "act_1"], 20)
        assert observed == ["camera", "nest/bits", "nest/kind", "place"]
        assert await theirs.said() == [[4.0, 0.0], "uint8", [24, 32, 3], False]
        assert await theirs.said() == [[4.0 + n, n / 2] for n in range(1, 7)]
        assert await theirs.said() == {"score": 1.0, "info": {"reward": 9.0}}
        assert await theirs.said() == [3.0, 3.0]
        assert "the arm is stuck" in await theirs.said()
        assert "no slot has the token" in await theirs.said()
        await theirs.ended()


async def test_their_client_drives_our_realtime_robot(tmp_path: Path, robot_python: Path) -> None:
    text = """
import numpy as np
from hud.capabilities import RobotClient

async def main(url):
    async with connect(Runtime(url)) as client:
        await client.start_task("reach", {})
        robot = await RobotClient.connect(client.binding("robot"))
        seen = await robot.get_observation()
        say(sorted(seen["meta"]))
        await robot.send_chunk(np.ones((30, 2)), obs_index=int(seen["meta"]["obs_index"]),
                               delay_used=0)
        while not seen["terminated"]:
            seen = await robot.get_observation()
        say([seen["meta"]["queue_remaining"], list(np.shape(seen["meta"]["unexecuted_chunk"]))])
        await robot.close()
        say((await client.grade({"answer": None}))["score"])
"""
    async with (
        served(realtime=True, fps=50, home=20) as url,
        program(robot_python, tmp_path, text, url) as theirs,
    ):
        assert await theirs.said() == [
            "delay",
            "obs_index",
            "queue_remaining",
            "unexecuted_chunk",
        ]
        left, shape = await theirs.said()
        assert shape == [left, 2]
        assert await theirs.said() == 1.0
        await theirs.ended()


THEIR_BRIDGE = """
import sys
sys.path.insert(0, sys.argv[1])
import gymnasium, numpy as np
from gymnasium import spaces
from hud.environment.robot import GymBridge, serve_bridge

class Cart(gymnasium.Env):
    metadata = {"render_fps": 20}
    observation_space = spaces.Dict({
        "place": spaces.Box(-100, 100, (2,), np.float32),
        "camera": spaces.Box(0, 255, (24, 32, 3), np.uint8),
    })
    action_space = spaces.Box(-10, 10, (2,), np.float32)
    def seen(self):
        return {"place": self.place.astype(np.float32),
                "camera": np.full((24, 32, 3), self.ticks, np.uint8)}
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.ticks = np.array([float(seed or 0), 0.0]), 0
        return self.seen(), {}
    def step(self, action):
        self.place, self.ticks = self.place + action, self.ticks + 1
        return self.seen(), 1.5, self.ticks >= 6, False, {"is_success": self.ticks >= 6}

serve_bridge(GymBridge(Cart, contract=None))
"""


async def test_our_endpoint_and_client_drive_their_bridge(
    tmp_path: Path, robot_python: Path
) -> None:
    path = tmp_path / "bridge.py"
    path.write_text(THEIR_BRIDGE)
    endpoint = RobotEndpoint.spawn([str(robot_python), str(path), str(tmp_path)])
    async with running(endpoint) as robot:
        contract = await robot.contract()
        assert contract["features"]["camera"]["type"] == "rgb"
        info = await robot.reset(seed=3)
        (row,) = await robot.capabilities("arm")
        assert row.name == "arm"
        async with await RobotClient.connect(row, token=info["token"]) as client:
            assert client.get_control_rate() == 20
            seen = await client.get_observation(timeout_s=DEADLINE_S)
            assert seen["data"]["place"].tolist() == [3.0, 0.0]
            assert seen["data"]["camera"].shape == (24, 32, 3)
            while not seen["terminated"]:
                seen = await step(client, [1.0, 0.5])
            assert seen["data"]["place"].tolist() == [9.0, 3.0]
        result = await robot.result(token=info["token"])
        assert (result["score"], result["success"], result["total_reward"]) == (1.0, True, 9.0)
        with pytest.raises(CapabilityFault):
            await RobotClient.connect(row, token="wrong")


async def test_their_endpoint_drives_our_bridge(tmp_path: Path, robot_python: Path) -> None:
    text = """
import contextlib
from hud.environment.robot import RobotEndpoint

async def main(port):
    robot = RobotEndpoint.remote("127.0.0.1", int(port))
    await robot.start()
    say((await robot.contract())["robot_type"])
    rows = await robot.capabilities("lift")
    say([rows[0].name, rows[0].protocol])
    info = await robot.reset(floor=3)
    say(info["prompt"])
    with contextlib.redirect_stdout(sys.stderr):
        result = await robot.result(token=info["token"], note=1)
    say(result)
    await robot.stop()
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, robots.__file__, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            while not (line := await process.stdout.readline()).startswith(b"HUD_SIM_PORT="):
                assert line
        port = line.partition(b"=")[2].decode().strip()
        async with program(robot_python, tmp_path, text, port) as theirs:
            assert await theirs.said() == "lift"
            assert await theirs.said() == ["lift", "openpi/0"]
            assert await theirs.said() == "go to the third floor"
            result = await theirs.said()
            assert result["note"] == 1 and result["total_reward"] == 0.0
            await theirs.ended()
    finally:
        process.terminate()
        await process.wait()
