"""Where simulators run: processes of their own, programs, other people's, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import CapabilityFault
from hud.capabilities import RobotClient
from hud.environment.robot import RobotEndpoint, gym_endpoint
from tests.e2e.capabilities.test_robot import DEADLINE_S, driving, point, running, step
from tests.needs import need_module

need_module("gymnasium")

from tests.e2e.capabilities import robots  # noqa: E402 — needs gymnasium


async def test_the_simulator_lives_on_the_main_thread_of_its_own_process() -> None:
    async with running(gym_endpoint(robots.Threads, contract=None)) as robot:
        await robot.reset()
        async with driving(robot) as client:
            built, here, pid = (await step(client, [1.0]))["data"]["obs"].tolist()
        assert (built, here) == (1.0, 1.0)
        assert int(pid) == robot.pid != os.getpid()


async def test_a_simulator_that_cannot_start_says_why() -> None:
    robot = gym_endpoint(robots.broken, contract=None)
    with pytest.raises(CapabilityFault, match=r"(?s)no graphics card.*cannot open the simulator"):
        await robot.start()
    await robot.stop()
    with pytest.raises(CapabilityFault, match="NoSuchRobot"):
        await gym_endpoint("NoSuchRobot-v0", contract=None).start()


async def test_one_that_takes_too_long_is_ended() -> None:
    cmd = [sys.executable, "-c", "import time; print('thinking', flush=True); time.sleep(600)"]
    robot = RobotEndpoint(cmd=cmd, connect_timeout_s=1.0)
    with pytest.raises(CapabilityFault, match="not ready after 1 s"):
        await robot.start()
    assert robot.pid is None


async def gone(pid: int) -> None:
    """Wait until a process is no more."""
    await asyncio.wait_for(asyncio.to_thread(_wait_for_end, pid), DEADLINE_S)


def _wait_for_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], DEADLINE_S)[0], f"{pid} lives on"
    finally:
        os.close(descriptor)


async def test_the_simulator_dies_with_the_environment_that_is_killed() -> None:
    program = (
        "import asyncio, sys\n"
        "from hud.environment.robot import gym_endpoint\n"
        "from tests.e2e.capabilities import robots\n"
        "async def main():\n"
        "    robot = gym_endpoint(robots.Point, contract=None)\n"
        "    await robot.start()\n"
        "    print(robot.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    root = str(Path(__file__).parents[3])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=root, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        pid = int(await process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await gone(pid)


async def test_a_program_of_ones_own_is_spawned_and_its_bridge_driven() -> None:
    path = robots.__file__
    async with running(RobotEndpoint.spawn([sys.executable, path])) as robot:
        assert (await robot.contract())["robot_type"] == "lift"
        info = await robot.reset(floor=1)
        assert info["prompt"] == "go to the third floor"
        async with driving(robot, info["token"]) as client:
            seen = await client.get_observation()
            assert seen["data"]["floor"].tolist() == [1.0]
            assert (await step(client, [1.0]))["reward"] == -0.5
            assert (await step(client, [1.0]))["terminated"]
        result = await robot.result(token=info["token"])
        assert (result["score"], result["total_reward"], result["terminated"]) == (1.0, -1.0, True)


@pytest.mark.parametrize("kind", ["class", "instance"])
async def test_a_bridge_class_gets_a_process_and_an_instance_a_thread(kind: str) -> None:
    bridge = robots.Lift if kind == "class" else robots.Lift()
    async with running(RobotEndpoint(bridge)) as robot:
        assert (robot.pid is not None) == (kind == "class")
        await robot.reset(floor=2)
        async with driving(robot) as client:
            assert (await step(client, [1.0]))["terminated"]
        assert (await robot.result())["success"] is True


async def test_a_bridge_somebody_else_runs_is_driven_over_tcp() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, robots.__file__, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            while not (line := await process.stdout.readline()).startswith(b"HUD_SIM_PORT="):
                assert line
        remote = RobotEndpoint.remote("127.0.0.1", int(line.partition(b"=")[2]))
        async with running(remote) as robot:
            await robot.reset(floor=2)
            async with await RobotClient.connect(robot.capability()) as client:
                assert (await step(client, [1.0]))["terminated"]
            assert (await robot.result())["success"] is True
    finally:
        process.terminate()
        await process.wait()


async def test_lambdas_and_live_environments_are_targets_too() -> None:
    home = 2
    far = gym_endpoint(lambda: robots.Point(home), contract=None)
    near = gym_endpoint(robots.Point(home), contract=None)
    named = gym_endpoint("tests.e2e.capabilities.robots:Point", contract=None, home=home)
    for robot in (far, near, named):
        async with running(robot):
            await robot.reset()
            async with driving(robot) as client:
                await step(client, [1.0, 0.0])
                assert (await step(client, [1.0, 0.0]))["terminated"]
            assert (await robot.result())["success"]


def listening(pid: int) -> list[str]:
    """Return the TCP addresses a process listens at."""
    inodes: set[str] = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(entry.readlink()))
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]


async def test_a_simulator_listens_nowhere_unless_its_address_is_asked_for() -> None:
    async with running(point()) as robot:
        assert robot.pid is not None
        info = await robot.reset(seed=1)
        sock = await robot.dial()
        assert sock is not None
        assert listening(robot.pid) == []
        reader, writer = await asyncio.open_connection(sock=sock)
        control: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "result", "params": {}}
        writer.write(json.dumps(control).encode() + b"\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            assert b"slot" not in await reader.read()
        writer.close()
        assert (await robot.result(token=info["token"]))["steps"] == 0
        await robot.url()
        assert len(listening(robot.pid)) == 1
