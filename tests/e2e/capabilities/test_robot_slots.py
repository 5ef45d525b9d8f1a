"""Several episodes in one simulation, and a simulation that moves by the clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hud._core.errors import CapabilityFault
from hud.capabilities import RobotClient
from hud.environment.robot import RobotEndpoint, gym_endpoint
from tests.e2e.capabilities.test_robot import DEADLINE_S, driving, running, step
from tests.needs import need_module

np = need_module("numpy")
need_module("gymnasium")

from tests.e2e.capabilities import robots  # noqa: E402 — needs gymnasium


def slots(kind: str, count: int = 3, **kwargs: Any) -> RobotEndpoint:
    target = {"copies": robots.Point, "vector": robots.points, "together": robots.together}[kind]
    return gym_endpoint(target, contract=None, num_envs=count, **kwargs)


@pytest.mark.parametrize("kind", ["copies", "vector"])
async def test_every_slot_has_its_own_episode_and_its_own_result(kind: str) -> None:
    async with running(slots(kind)) as robot:
        assert not robot.is_exclusive

        async def episode(seed: int) -> tuple[dict[str, Any], list[float]]:
            info = await robot.reset(seed=seed * 10)
            async with driving(robot, info["token"]) as client:
                seen = await client.get_observation(timeout_s=DEADLINE_S)
                assert seen["data"]["place"].tolist() == [seed * 10, 0.0]
                while not seen["terminated"]:
                    seen = await step(client, [seed, 0.0])
                return await robot.result(token=info["token"]), seen["data"]["place"].tolist()

        for _ in range(2):
            found = await asyncio.gather(*(episode(seed) for seed in (1, 2, 3)))
            assert [place for _, place in found] == [[16.0, 0.0], [32.0, 0.0], [48.0, 0.0]]
            assert all(row["success"] and row["total_reward"] == 9.0 for row, _ in found)
            assert [row["info"]["place"] for row, _ in found] == [place for _, place in found]


async def act(client: RobotClient) -> dict[str, Any]:
    return await step(client, [1.0, 0.0])


@pytest.mark.parametrize("kind", ["copies", "vector"])
async def test_a_peer_that_drops_or_ends_or_never_comes_stalls_nobody(kind: str) -> None:
    async with running(slots(kind, home=20)) as robot:
        one, two, _never = [await robot.reset() for _ in range(3)]
        async with driving(robot, one["token"]) as stays:
            async with driving(robot, two["token"]) as drops:
                await asyncio.gather(act(stays), act(drops))
            places = [(await act(stays))["data"]["place"].tolist() for _ in range(5)]
            assert places[-1] == [6.0, 0.0]
            async with driving(robot, two["token"]) as again:
                both = await asyncio.gather(act(stays), act(again))
                assert both[0]["data"]["place"].tolist() == [7.0, 0.0]
                await robot.result(token=two["token"])
            assert (await act(stays))["data"]["place"].tolist() == [8.0, 0.0]


async def test_an_agent_that_comes_late_finds_its_episode_at_the_beginning() -> None:
    async with running(slots("vector", 2, hold="last", home=4)) as robot:
        one, two = await robot.reset(), await robot.reset(seed=30)
        async with driving(robot, one["token"]) as first:
            seen = await first.get_observation()
            while not seen["terminated"]:
                seen = await act(first)
        async with driving(robot, two["token"]) as late:
            seen = await late.get_observation(timeout_s=DEADLINE_S)
            assert seen["data"]["place"].tolist() == [30.0, 0.0] and not seen["terminated"]
            while not seen["terminated"]:
                seen = await act(late)
            assert seen["data"]["place"].tolist() == [34.0, 0.0]
        assert (await robot.result(token=one["token"]))["info"]["place"] == [4.0, 0.0]
        assert (await robot.result(token=two["token"]))["total_reward"] == 6.0


async def test_slots_that_share_a_simulation_wait_for_each_other() -> None:
    async with running(slots("vector", 2)) as robot:
        one, two = await robot.reset(), await robot.reset()
        async with driving(robot, one["token"]) as first, driving(robot, two["token"]) as second:
            await asyncio.gather(first.get_observation(), second.get_observation())
            early = asyncio.create_task(act(first))
            done, _ = await asyncio.wait([early], timeout=0.3)
            assert not done, "it ticked without the other"
            await act(second)
            assert (await early)["data"]["place"].tolist() == [1.0, 0.0]


async def test_a_slow_peer_is_waited_for_only_so_long() -> None:
    bridge = robots.PointsBridge(2)
    bridge.step_timeout = 0.2
    async with running(RobotEndpoint(bridge)) as robot:
        one, two = await robot.reset(), await robot.reset()
        async with driving(robot, one["token"]) as quick, driving(robot, two["token"]) as slow:
            await asyncio.gather(quick.get_observation(), slow.get_observation())
            for tick in range(1, 4):
                assert (await act(quick))["data"]["place"].tolist() == [tick, 0.0]
            late = asyncio.create_task(act(slow))
            await asyncio.gather(late, act(quick))
            assert late.result()["data"]["place"].tolist() == [1.0, 0.0], "it held still before"


async def test_a_slot_that_is_told_nothing_holds_still_or_goes_on_as_it_was_built() -> None:
    for hold, moved in (("zero", 1.0), ("last", 3.0)):
        async with running(slots("vector", 2, hold=hold)) as robot:
            one, two = await robot.reset(), await robot.reset()
            async with driving(robot, one["token"]) as stays:
                async with driving(robot, two["token"]) as drops:
                    await asyncio.gather(act(stays), act(drops))
                await act(stays)
                await act(stays)
            result = await robot.result(token=two["token"])
            assert result["info"]["place"] == [moved, 0.0]


async def test_slots_reset_together_take_only_equal_tasks() -> None:
    async with running(slots("together", 2, claim_wait_s=0.0)) as robot:
        one = await robot.reset(seed=1)
        async with driving(robot, one["token"]) as first:
            with pytest.raises(CapabilityFault, match="reset together"):
                await robot.reset(seed=2)
            two = await robot.reset(seed=1)
            async with driving(robot, two["token"]) as second:
                seen = await asyncio.gather(act(first), act(second))
        # A vector environment seeds its slots seed, seed + 1, …
        assert [row["data"]["place"].tolist() for row in seen] == [[2.0, 0.0], [3.0, 0.0]]
        await robot.result(token=one["token"])
        await robot.result(token=two["token"])
        await robot.reset(seed=2)


async def test_a_reset_waits_for_a_slot_and_a_claim_without_token_needs_to_be_clear() -> None:
    async with running(slots("copies", 2, claim_wait_s=DEADLINE_S)) as robot:
        one, two = await robot.reset(), await robot.reset()
        with pytest.raises(CapabilityFault, match="2 slots are claimed"):
            async with driving(robot):
                pass
        third = asyncio.create_task(robot.reset(seed=7))
        async with driving(robot, two["token"]) as client:
            await act(client)
            assert not third.done()
            await robot.result(token=one["token"])
            async with driving(robot, (await third)["token"]) as late:
                assert (await late.get_observation())["data"]["place"].tolist() == [7.0, 0.0]


async def test_abandoned_slots_are_taken_over_and_full_ones_are_said_to_be_full() -> None:
    async with running(slots("copies", 1, claim_wait_s=0.05)) as robot:
        await robot.reset()
        info = await robot.reset(seed=1)
        async with driving(robot, info["token"]):
            with pytest.raises(CapabilityFault, match="all 1 slots"):
                await robot.reset()
        async with robot.episode(seed=2) as third:
            assert third["token"] != info["token"]
        with pytest.raises(CapabilityFault, match="no slot"):
            async with driving(robot, third["token"]):
                pass


async def test_a_realtime_robot_moves_by_the_clock_and_says_what_it_has_left_to_do() -> None:
    endpoint = gym_endpoint(robots.Point, contract=None, realtime=True, fps=50, home=100_000)
    async with running(endpoint) as robot:
        await robot.reset()
        async with driving(robot) as client:
            seen = await client.get_observation(timeout_s=DEADLINE_S)
            while seen["meta"]["obs_index"] < 3:
                seen = await client.get_observation(timeout_s=DEADLINE_S)
            assert seen["data"]["place"].tolist() == [0.0, 0.0], "it held still"
            assert seen["meta"]["queue_remaining"] == 0
            assert seen["meta"]["unexecuted_chunk"].shape == (0, 2)

            index = seen["meta"]["obs_index"]
            chunk = np.stack([np.arange(1.0, 401.0), np.zeros(400)], axis=1) / 8
            await client.send_chunk(chunk, obs_index=index, delay_used=1)
            while seen["meta"]["queue_remaining"] == 0:
                seen = await client.get_observation(timeout_s=DEADLINE_S)
            meta = seen["meta"]
            left = meta["unexecuted_chunk"]
            assert left.shape == (meta["queue_remaining"], 2)
            assert np.array_equal(left, chunk[len(chunk) - len(left) :].astype(np.float32))
            done = chunk[meta["delay"] : len(chunk) - len(left), 0].sum()
            assert seen["data"]["place"][0] == done, "rows whose time had passed are left out"
            assert meta["obs_index"] - index == len(chunk) - len(left)

            await client.send_chunk(-chunk, obs_index=meta["obs_index"])
            while not (meta["unexecuted_chunk"] < 0).any():
                meta = (await client.get_observation(timeout_s=DEADLINE_S))["meta"]
            assert (meta["unexecuted_chunk"][:, 0] < 0).all(), "a new chunk replaces the old"
        result = await robot.result()
        assert result["steps"] > index


async def test_a_realtime_robot_ends_its_episode_for_everybody() -> None:
    endpoint = gym_endpoint(robots.Point, contract=None, realtime=True, fps=200, home=20)
    async with running(endpoint) as robot:
        await robot.reset()
        async with driving(robot) as client:
            seen = await client.get_observation(timeout_s=DEADLINE_S)
            rewards = seen["reward"]
            while not seen["terminated"]:
                seen = await client.get_observation(timeout_s=DEADLINE_S)
                rewards += seen["reward"]
            assert rewards == 30.0, "no reward is lost with an observation nobody saw"
            assert seen["meta"]["obs_index"] == 20
        assert (await robot.result())["success"]
