"""What an episode's life means for the daemons of an environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator

import pytest

from hud import Environment
from hud._core.errors import CapabilityFault, HudError
from hud.clients import connect
from hud.environment.daemon import Daemon
from hud.environment.server import bind
from hud.protocol.capability import Capability
from hud.protocol.frames import HudProtocolError
from hud.runtimes.base import Runtime


class Noting(Daemon):
    """A daemon that notes what it is told."""

    def __init__(self, name: str, notes: list[str]) -> None:
        super().__init__(name)
        self.notes = notes
        self.fails: str | None = None
        self.uid: int | None = None

    def note(self, what: str) -> None:
        self.notes.append(f"{self.name} {what}")
        if self.fails == what:
            raise CapabilityFault(f"{self.name} cannot {what}")

    @property
    def untrusted_uid(self) -> int | None:
        return self.uid

    async def start(self) -> None:
        self.note("start")

    async def stop(self) -> None:
        self.note("stop")

    def capability(self) -> Capability:
        return Capability(self.name, "line/1", "tcp://127.0.0.1:9")

    async def begin_episode(self) -> None:
        self.note("begin")

    async def hand_over(self) -> None:
        self.note("hand over")

    async def end_episode(self) -> None:
        self.note("end")


class World:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.env = Environment("world")
        self.first = self.env.add_daemon(Noting("first", self.notes))
        self.second = self.env.add_daemon(Noting("second", self.notes))

        @self.env.template()
        async def task() -> AsyncGenerator[str | float, str]:
            self.notes.append("prompt")
            yield "go"
            self.notes.append("grade")
            yield 1.0

    def told(self) -> list[str]:
        told, self.notes[:] = list(self.notes), []
        return told


@pytest.fixture
def world() -> World:
    return World()


async def test_daemons_begin_in_order_and_end_in_reverse_around_the_template(world: World) -> None:
    async with bind(world.env) as url, connect(Runtime(url)) as client:
        assert world.told() == ["first start", "second start"]
        await client.start_task("task")
        assert world.told() == ["prompt", "first hand over", "second hand over"]
        await client.grade({"answer": ""})
        assert world.told() == ["second end", "first end", "grade"]
        await client.start_task("task")
        begun = ["first begin", "second begin", "prompt", "first hand over", "second hand over"]
        assert world.told() == begun, "what follows another episode begins afresh"
    assert world.told()[-2:] == ["second stop", "first stop"]


async def test_an_episode_that_is_cancelled_ends_for_the_daemons_too(world: World) -> None:
    async with bind(world.env) as url, connect(Runtime(url)) as client:
        await client.start_task("task")
        world.told()
        await client.cancel()
        assert world.told() == ["second end", "first end"]


async def test_a_parked_task_gives_way_to_a_new_one(world: World) -> None:
    async with bind(world.env) as url:
        async with connect(Runtime(url)) as gone:
            await gone.start_task("task")
        world.told()
        async with connect(Runtime(url)) as client:
            await client.start_task("task")
            assert world.told()[:4] == ["second end", "first end", "first begin", "second begin"]
            assert (await client.grade({"answer": ""}))["score"] == 1.0


async def test_daemons_that_episodes_do_not_change_leave_parked_tasks_alone(world: World) -> None:
    for daemon in world.env.daemons:
        daemon.is_exclusive = False  # pyright: ignore[reportAttributeAccessIssue]
    async with bind(world.env) as url:
        async with connect(Runtime(url)) as gone:
            await gone.start_task("task")
        async with connect(Runtime(url)) as client:
            await client.start_task("task")
            assert (await client.grade({"answer": ""}))["score"] == 1.0
        async with connect(Runtime(url)) as client:
            assert (await client.grade({"answer": ""}))["score"] == 1.0


async def test_two_episodes_at_once_do_not_stop_each_other(world: World) -> None:
    async with bind(world.env) as url, connect(Runtime(url)) as one, connect(Runtime(url)) as two:
        await one.start_task("task")
        await two.start_task("task")
        world.told()
        await one.grade({"answer": ""})
        assert world.told() == ["grade"]
        await two.grade({"answer": ""})
        assert world.told() == ["second end", "first end", "grade"]


async def test_a_daemon_that_cannot_begin_is_a_fault_of_its_capability(world: World) -> None:
    async with bind(world.env) as url, connect(Runtime(url)) as client:
        await client.start_task("task")
        await client.grade({"answer": ""})
        world.first.fails = "begin"
        with pytest.raises(HudProtocolError, match="first cannot begin") as failed:
            await client.start_task("task")
        assert failed.value.boundary == "capability"


async def test_a_daemon_that_does_not_start_ends_those_before_it(world: World) -> None:
    world.second.fails = "start"
    with pytest.raises(HudError, match="second cannot start"):
        await world.env.start()
    assert world.told() == ["first start", "second start", "second stop", "first stop"]


async def test_two_daemons_of_one_name_are_refused(world: World) -> None:
    with pytest.raises(ValueError, match="two capabilities 'first'"):
        world.env.add_daemon(Noting("first", []))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take another uid")
async def test_a_process_of_the_agents_uid_does_not_come_in(world: World) -> None:
    world.first.uid = 59_001
    hello = '{"jsonrpc":"2.0","id":1,"method":"hello","params":{}}'
    async with bind(world.env) as url:
        script = (
            f"exec 3<>/dev/tcp/127.0.0.1/{url.rpartition(':')[2]}; "
            f"echo '{hello}' >&3; head -c 1 <&3 2>/dev/null"
        )
        answers: dict[int, bytes] = {}
        for uid in (59_001, 59_002):
            process = await asyncio.create_subprocess_exec(
                *("bash", "-c", script), user=uid, stdout=asyncio.subprocess.PIPE
            )
            answers[uid], _ = await process.communicate()
    assert answers == {59_001: b"", 59_002: b"{"}
