"""Robots end to end: a simulator in its own process, driven through a slot and graded beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from hud._core.errors import CapabilityFault
from hud.capabilities import Capability, RobotClient
from hud.capabilities.robot import ActionRejected
from hud.environment.robot import RobotEndpoint, gym_endpoint
from tests.needs import need_module

np = need_module("numpy")
need_module("gymnasium")
need_module("websockets")

from tests.e2e.capabilities import robots  # noqa: E402 — needs gymnasium

DEADLINE_S = 60.0


@contextlib.asynccontextmanager
async def running(endpoint: RobotEndpoint) -> AsyncGenerator[RobotEndpoint]:
    await endpoint.start()
    try:
        yield endpoint
    finally:
        await endpoint.stop()


@contextlib.asynccontextmanager
async def driving(endpoint: RobotEndpoint, token: str | None = None) -> AsyncGenerator[RobotClient]:
    (row,) = await endpoint.capabilities()
    async with await RobotClient.connect(row, token=token) as client:
        yield client


async def step(client: RobotClient, action: Any) -> dict[str, Any]:
    await client.send_action(action)
    return await client.get_observation(timeout_s=DEADLINE_S)


async def lost(client: RobotClient) -> None:
    """Act until the connection is seen to be cut."""
    with pytest.raises(CapabilityFault):
        await _act_on(client)


async def _act_on(client: RobotClient) -> None:
    while True:
        await step(client, [0.0, 0.0])


def point(**kwargs: Any) -> RobotEndpoint:
    return gym_endpoint(robots.Point, contract=None, **kwargs)


async def test_an_episode_from_reset_to_result() -> None:
    async with running(point()) as robot:
        info = await robot.reset(seed=3, height=2.0, prompt="go home")
        assert info["prompt"] == "go home"
        async with driving(robot) as client:
            action, observed = client.spaces()
            assert action["shape"] == [2] and client.get_control_rate() == 20
            seen = await client.get_observation()
            assert (
                set(seen["data"])
                == set(observed)
                == {
                    "camera",
                    "nest/bits",
                    "nest/kind",
                    "place",
                }
            )
            assert seen["data"]["place"].tolist() == [3.0, 2.0]
            assert seen["data"]["place"].dtype == np.float32
            assert seen["data"]["camera"].shape == (24, 32, 3)
            assert seen["reward"] == 0.0 and not seen["terminated"]
            for tick in range(1, 6):
                seen = await step(client, [1.0, 0.5])
                assert seen["data"]["place"].tolist() == [3.0 + tick, 2.0 + tick / 2]
                assert seen["data"]["camera"][0, 0, 0] == tick
                assert seen["reward"] == 1.5 and not seen["terminated"]
            last = await step(client, np.array([1.0, 0.5]))
            assert last["terminated"] and last["reward"] == 1.5
            assert (await client.get_observation())["terminated"], "it is over, and stays so"
            again = await step(client, [1.0, 0.5])
            assert again["terminated"] and again["data"]["place"].tolist() == [9.0, 5.0]
            result = await robot.result(token=info["token"], note="mine")
            await lost(client)
        assert result["note"] == "mine" and result["steps"] == 6
        assert (result["score"], result["success"], result["total_reward"]) == (1.0, True, 9.0)
        assert result["info"] == {"is_success": True, "ticks": 6, "place": [9.0, 5.0]}


async def test_nothing_done_scores_nothing() -> None:
    async with running(point()) as robot:
        await robot.reset()
        result = await robot.result()
        assert (result["score"], result["success"], result["total_reward"]) == (0.0, False, 0.0)


async def test_a_chunk_is_carried_out_before_the_next_observation() -> None:
    async with running(point()) as robot:
        await robot.reset()
        async with driving(robot) as client:
            await client.get_observation()
            await client.send_chunk(np.ones((4, 2)))
            seen = await client.get_observation(timeout_s=DEADLINE_S)
            assert seen["data"]["place"].tolist() == [4.0, 4.0] and seen["reward"] == 6.0
            await client.send_chunk(np.ones((40, 2)))
            seen = await client.get_observation(timeout_s=DEADLINE_S)
            assert seen["terminated"] and seen["data"]["place"].tolist() == [6.0, 6.0]
        assert (await robot.result())["steps"] == 6


BAD_ACTIONS: list[Any] = [[1.0], [[1.0, 2.0]], [np.nan, 0.0], [np.inf, 0.0], "no", None, 3.0]


@pytest.mark.parametrize("action", BAD_ACTIONS, ids=repr)
async def test_an_action_that_does_not_fit_is_refused_and_the_episode_goes_on(
    action: Any,
) -> None:
    async with running(point()) as robot:
        await robot.reset()
        async with driving(robot) as client:
            await client.get_observation()
            with pytest.raises(ActionRejected):
                await client.send_action(action)
            assert (await step(client, [1.0, 1.0]))["data"]["place"].tolist() == [1.0, 1.0]


async def test_an_action_the_client_could_not_judge_is_refused_by_the_robot() -> None:
    async with running(point()) as robot:
        await robot.reset()
        (row,) = await robot.capabilities()
        blind = Capability(row.name, row.protocol, row.url, {"contract": {}})
        async with await RobotClient.connect(blind) as client:
            await client.get_observation()
            with pytest.raises(ActionRejected, match=r"shape \[3\]"):
                await step(client, [1.0, 1.0, 1.0])
            assert (await step(client, [1.0, 1.0]))["data"]["place"].tolist() == [1.0, 1.0]


async def test_a_simulator_that_raises_is_a_capability_fault_for_agent_and_grader() -> None:
    async with running(point()) as robot:
        await robot.reset()
        async with driving(robot) as client:
            await client.get_observation()
            with pytest.raises(CapabilityFault, match="the arm is stuck"):
                await step(client, [9.0, 0.0])
        with pytest.raises(CapabilityFault, match="the arm is stuck"):
            await robot.result()
        await robot.reset()
        async with driving(robot) as client:
            assert (await step(client, [1.0, 0.0]))["data"]["place"].tolist() == [1.0, 0.0]


async def test_a_simulator_that_dies_is_a_fault_and_the_next_reset_starts_it_anew() -> None:
    async with running(point()) as robot:
        first = robot.pid
        await robot.reset()
        async with driving(robot) as client:
            await client.get_observation()
            with pytest.raises(CapabilityFault):
                await step(client, [8.0, 0.0])
        with pytest.raises(CapabilityFault, match="the motor burns"):
            await robot.result()
        await robot.reset()
        assert robot.pid != first
        async with driving(robot) as client:
            assert (await step(client, [1.0, 0.0]))["data"]["place"].tolist() == [1.0, 0.0]


async def test_a_rendered_frame_is_an_observation_when_asked_for() -> None:
    make = "tests.e2e.capabilities.robots:Point"
    async with running(
        gym_endpoint(make, contract=None, render=True, render_mode="rgb_array")
    ) as robot:
        assert (await robot.contract())["features"]["render"]["type"] == "rgb"
        await robot.reset()
        async with driving(robot) as client:
            seen = await step(client, [1.0, 0.0])
            assert seen["data"]["render"].shape == (16, 16, 3)
            assert seen["data"]["render"][0, 0, 0] == 1


async def test_build_arguments_of_a_task_build_the_simulation_anew() -> None:
    async with running(point(home=6)) as robot:
        await robot.reset(home=1)
        async with driving(robot) as client:
            assert (await step(client, [1.0, 0.0]))["terminated"]
        await robot.result()
        await robot.reset()
        async with driving(robot) as client:
            assert not (await step(client, [1.0, 0.0]))["terminated"]


async def test_the_agents_connection_reaches_nothing_but_its_slot() -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    from hud.protocol.openpi import pack, unpack

    async with running(point()) as robot:
        info = await robot.reset(seed=1)
        url = await robot.url()
        async with connect(url, compression=None) as ws:
            assert unpack(await ws.recv(decode=False))["claim_required"] is True
            await ws.send(pack({"method": "result", "params": {}}))
            assert "claim a slot first" in str(await ws.recv())
        for claim in ("wrong", "", 7, info["token"][:-1]):
            async with connect(url, compression=None) as ws:
                await ws.recv()
                await ws.send(pack({"claim": claim}))
                assert "no slot has the token" in str(await ws.recv())
        async with connect(url, compression=None) as ws:
            await ws.recv()
            await ws.send(b"\xc1\x00")
            assert "cannot be read" in str(await ws.recv())
        with pytest.raises(InvalidStatus):
            await connect(url, compression=None, origin="http://evil.example").__aenter__()  # pyright: ignore[reportArgumentType]
        async with driving(robot, info["token"]) as client:
            assert (await client.get_observation())["data"]["place"].tolist() == [1.0, 0.0]


async def test_a_lost_connection_is_taken_up_again_with_the_token() -> None:
    async with running(point()) as robot:
        info = await robot.reset()
        async with driving(robot, info["token"]) as client:
            await step(client, [1.0, 0.0])
            async with driving(robot, info["token"]) as second:
                seen = await second.get_observation()
                assert seen["data"]["place"].tolist() == [1.0, 0.0]
                await lost(client)
                assert (await step(second, [1.0, 0.0]))["data"]["place"].tolist() == [2.0, 0.0]


async def test_after_the_episode_has_ended_nobody_may_act_and_the_state_stays() -> None:
    async with running(point()) as robot:
        await robot.begin_episode()
        info = await robot.reset()
        async with driving(robot, info["token"]) as client:
            await step(client, [1.0, 0.0])
            await robot.end_episode()
            await lost(client)
        with pytest.raises(CapabilityFault, match="has ended"):
            async with driving(robot, info["token"]):
                pass
        assert (await robot.result(token=info["token"]))["info"]["place"] == [1.0, 0.0]
        await robot.begin_episode()
        with pytest.raises(CapabilityFault, match="no slot is claimed"):
            async with driving(robot):
                pass


async def test_a_daemons_connections_need_no_port() -> None:
    async with running(point()) as robot:
        info = await robot.reset(seed=5)
        sock = await robot.dial()
        assert sock is not None
        from hud.capabilities.robot.line import Line
        from hud.protocol.openpi import pack, unpack

        said: asyncio.Queue[bytes | str] = asyncio.Queue()
        line = Line.client("ws://robot/", said.put_nowait)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: line, sock=sock)
        async with asyncio.timeout(DEADLINE_S):
            await line.opened
            await said.get()
            line.send(pack({"claim": info["token"]}))
            frame = unpack(bytes(await said.get()))  # pyright: ignore[reportArgumentType]
            assert frame["place"].tolist() == [5.0, 0.0]
            line.close()
            await line.closed
