"""Drive gym-pusht with pixels: bare, over bare WebSockets, and through a run.

A step is the round trip of one action and its observation. Every way moves the pusher alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import runpy
import sys
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

import gymnasium
import numpy as np
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from benchmarks.programs import spec
from hud import LocalRuntime, Run, SubprocessRuntime, Taskset
from hud._core.relay import Relay
from hud.capabilities import RobotClient
from hud.protocol.openpi import pack, unpack

SOURCE = Path(__file__).resolve().parent.parent / "sources" / "pusht.py"
TARGET = "gym_pusht:gym_pusht/PushT-v0"
EPISODE = 250


@dataclass(frozen=True)
class Work:
    """What to run.

    Attributes:
        way: `bare`, `vector`, `socket`, `sim`, `relay`, or the runtime of a run: `local`,
            `subprocess`.
        steps: How many, per slot, in episodes of 250.
        slots: Slots of a vectorised simulation.
        port: For a part of `socket`: where the next one listens.
    """

    way: str
    steps: int = EPISODE
    slots: int = 1
    port: int = 0


def action(tick: int) -> Any:
    return np.array([256.0, 256.0], np.float32) + np.float32(50 * np.sin(tick / 5))


def make() -> Any:
    return gymnasium.make(TARGET, obs_type="pixels_agent_pos")


def bare(work: Work) -> float:
    env = make()

    def episodes(count: int) -> None:
        for seed in range(count):
            env.reset(seed=seed)
            for tick in range(EPISODE):
                env.step(action(tick))

    return _rate(lambda: episodes(work.steps // EPISODE), lambda: episodes(1), work.steps)


def vector(work: Work) -> float:
    env: Any = gymnasium.make_vec(
        TARGET, work.slots, vectorization_mode="sync", obs_type="pixels_agent_pos"
    )

    def episodes(count: int) -> None:
        for seed in range(count):
            env.reset(seed=seed)
            for tick in range(EPISODE):
                env.step(np.stack([action(tick)] * work.slots))

    steps = work.steps * work.slots
    return _rate(lambda: episodes(work.steps // EPISODE), lambda: episodes(1), steps)


def _rate(run: Callable[[], None], warm_up: Callable[[], None], steps: int) -> float:
    warm_up()
    began = time.perf_counter()
    run()
    return steps / (time.perf_counter() - began)


async def sim() -> None:
    """Serve a simulation over a bare WebSocket, stepping in its handler."""
    env = make()

    def frame(seen: Any, is_over: bool) -> bytes:
        state = seen["agent_pos"].astype(np.float32)
        return pack({"pixels": seen["pixels"], "agent_pos": state, "terminated": is_over})

    async def handle(ws: Any) -> None:
        await ws.send(frame(env.reset(seed=0)[0], False))
        async for message in ws:
            seen, _, terminated, _, _ = env.step(unpack(message)["actions"])
            await ws.send(frame(seen, terminated))

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        _announce(next(iter(server.sockets)).getsockname()[1])
        await asyncio.get_running_loop().create_future()


async def relay(port: int) -> None:
    async with relaying(port) as own:
        _announce(own)
        await asyncio.get_running_loop().create_future()


@contextlib.asynccontextmanager
async def relaying(port: int) -> AsyncGenerator[int]:
    """Splice every connection to a free port with one to `port`."""
    loop = asyncio.get_running_loop()
    splices: set[asyncio.Task[None]] = set()

    class Near(Relay):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            task = loop.create_task(self.splice())
            splices.add(task)
            task.add_done_callback(splices.discard)

        async def splice(self) -> None:
            far = Relay()
            await loop.create_connection(lambda: far, "127.0.0.1", port)
            self.join(far)

    server = await loop.create_server(Near, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _announce(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


@contextlib.asynccontextmanager
async def part(way: str, port: int = 0) -> AsyncGenerator[int]:
    """Run a part of the bare way in a process of its own, and yield its port."""
    text = f'{{"way": "{way}", "port": {port}}}'
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.programs.robots", text, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def socket(work: Work) -> float:
    """Step over a bare WebSocket and two relays, one here and one in a process of its own."""
    async with (
        part("sim") as sim_port,
        part("relay", sim_port) as far,
        relaying(far) as near,
        connect(f"ws://127.0.0.1:{near}", compression=None) as ws,
    ):
        unpack(await ws.recv(decode=False))

        async def steps(count: int) -> float:
            began = time.perf_counter()
            for tick in range(count):
                await ws.send(pack({"actions": action(tick)}))
                unpack(await ws.recv(decode=False))
            return time.perf_counter() - began

        await steps(EPISODE)
        return work.steps / await steps(work.steps)


class Driver:
    """An agent that steps as often as it is told, in step with the others' first action."""

    def __init__(self, slots: int) -> None:
        self._start = asyncio.Barrier(slots)
        self.spans: list[tuple[float, float]] = []

    async def drive(self, run: Run) -> None:
        token = run.bindings["robot"]["token"]
        async with await RobotClient.connect(run.client.binding("robot"), token=token) as client:
            await client.get_observation()
            await self._start.wait()
            began = time.perf_counter()
            for tick in range(EPISODE):
                await client.send_action(action(tick))
                await client.get_observation()
            self.spans.append((began, time.perf_counter()))
        run.trace.content = "done"


async def through_runs(work: Work) -> float:
    """Step through runs: the time from the first action to the last observation of each round."""
    os.environ["BENCH_SLOTS"] = str(work.slots)
    source: dict[str, Any] = runpy.run_path(str(SOURCE))
    is_apart = work.way == "subprocess"
    runtime: Any = SubprocessRuntime(SOURCE) if is_apart else LocalRuntime(source["env"])
    taskset = Taskset("push", [source["push"](seed=seed) for seed in range(work.slots)])
    spent = 0.0
    rounds = work.steps // EPISODE
    for number in range(rounds + 1):
        driver = Driver(work.slots)
        job = await taskset.run(driver.drive, runtime=runtime, max_concurrent=work.slots)
        assert not job.errors, [run.trace.error for run in job.runs]
        assert all(len(run.trace.steps) > 2 * EPISODE for run in job.runs), "it was not recorded"
        if number:
            spent += max(end for _, end in driver.spans) - min(begin for begin, _ in driver.spans)
    return rounds * EPISODE * work.slots / spent


async def main(work: Work) -> None:
    match work.way:
        case "sim":
            await sim()
        case "relay":
            await relay(work.port)
        case "bare":
            spec.write({"per_s": bare(work)})
        case "vector":
            spec.write({"per_s": vector(work)})
        case "socket":
            spec.write({"per_s": await socket(work)})
        case _:
            spec.write({"per_s": await through_runs(work)})


if __name__ == "__main__":
    asyncio.run(main(spec.read(Work)))
