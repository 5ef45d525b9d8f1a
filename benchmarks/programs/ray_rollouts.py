"""Rollouts on three nodes of a Ray cluster on this machine, beside bare tasks of the same Ray."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.programs import spec

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

SOURCE = """
import asyncio
from hud import Environment

env = Environment(name="sleeper")

@env.template()
async def nap(seconds: float = 0.0):
    yield "Wait."
    await asyncio.sleep(seconds)
    yield 1.0
"""
NODES, CPUS = 3, 4
SLOTS = NODES * CPUS


@dataclass(frozen=True)
class Work:
    """What to run: `rollouts`, or `tasks` of Ray itself; one after the other, or on all slots."""

    what: str
    count: int
    concurrent: int
    seconds: float = 0.0


@contextmanager
def cluster() -> Generator[Any]:
    """Run three nodes, with this process connected to them."""
    import ray
    from ray.cluster_utils import Cluster

    about = {"num_cpus": CPUS, "include_dashboard": False, "node_ip_address": "127.0.0.1"}
    running = Cluster(initialize_head=True, head_node_args=about)
    for _ in range(NODES - 1):
        running.add_node(wait=False, **about)
    running.wait_for_nodes()
    ray.init(address=running.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield ray
    finally:
        ray.shutdown()
        running.shutdown()


async def main(work: Work, ray: Any) -> None:
    if work.what == "tasks":
        await tasks(work, ray)
    else:
        await rollouts(work)


async def tasks(work: Work, ray: Any) -> None:
    """Time bare tasks of Ray that sleep, each of which holds one CPU."""

    def sleep(seconds: float) -> None:
        time.sleep(seconds)

    nap = ray.remote(sleep).options(num_cpus=1)

    async def one() -> float:
        began = time.perf_counter()
        await nap.remote(work.seconds)
        return time.perf_counter() - began

    await timed(work, one)


async def rollouts(work: Work) -> None:
    """Time rollouts without an agent: a place, its task started and graded, the place left."""
    from hud.clients import connect
    from hud.environment.task import Task
    from hud.runtimes.ray import RayRuntime

    row = Task(env="sleeper", id="nap", args={"seconds": work.seconds})
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "env.py")
        source.write_text(SOURCE)
        async with RayRuntime(source, warm=SLOTS) as runtime:

            async def one() -> float:
                began = time.perf_counter()
                async with runtime(row) as place, connect(place) as client:
                    await client.start_task(row.id, row.args)
                    graded = await client.grade({"answer": "done"})
                assert graded["score"] == 1.0
                return time.perf_counter() - began

            await timed(work, one)


async def timed(work: Work, one: Any) -> None:
    """Run `one` so often, after every slot was used, and write what it took."""
    await asyncio.gather(*(one() for _ in range(SLOTS * 2)))
    left = iter(range(work.count))
    held: list[float] = []

    async def slot() -> None:
        for _ in left:
            held.append(await one())  # noqa: PERF401 -- each is waited for

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(work.concurrent):
            group.create_task(slot())
    wall_s = time.perf_counter() - began
    spec.write({"wall_s": wall_s, "held_s": sum(held), "median_s": sorted(held)[len(held) // 2]})


if __name__ == "__main__":
    with cluster() as connected:
        asyncio.run(main(spec.read(Work), connected))
