"""Rollouts in containers: what acquiring and leaving cost over a bare `docker run` and `rm -f`."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Setting
from benchmarks.tables import Column, Table, at_most
from hud.clients import connect
from hud.environment.task import Task
from hud.runtimes.docker import DockerRuntime
from tests.docker_base import import_base
from tests.docker_engine import DockerEngine, running_engine

ABOUT = (
    "One rollout at a time in a container of an image made by `hud build`, the agent doing "
    "nothing, on an engine of the benchmark's own. The floor is a bare `docker run` of the same "
    "image until it has imported the source, and `docker rm -f`, taken in turns with the others. "
    "With a full warm pool the time is to the first answer of the environment; leaving is off the "
    "path, so the rate that can be sustained stands beside it, eight rollouts at once."
)
SOURCE = """from hud import Environment

env = Environment("timed")


@env.template()
async def nothing():
    yield "Do nothing."
    yield 1.0
"""
RECIPE = """FROM hud-test-base
WORKDIR /app
COPY . .
RUN python -m compileall -q /usr/local/lib .
CMD ["hud", "serve", "env.py", "--port", "8765"]
"""
ROW = Task(env="timed", id="nothing")
IMAGE = "timed"
COLD, WARM = 1.2, 0.2
FLOOR, OURS, POOLED = "floor: docker run, rm -f", "DockerRuntime", "DockerRuntime, warm"


def measure(setting: Setting) -> Table:
    table = Table(
        "docker",
        "DockerRuntime",
        ABOUT,
        (
            Column("what"),
            Column("ms", ",.0f"),
            Column("x floor", ".2f"),
            Column("per second", ",.2f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    with running_engine() as engine:
        import_base(engine)
        os.environ.update(engine.environ)
        _build()
        taken, rate = asyncio.run(_times(engine, 5 if setting.quick else 15))
    floor = statistics.median(taken[FLOOR])
    table.add(FLOOR, floor * 1e3, None, None, None, None)
    for name, limit in ((OURS, COLD), (POOLED, WARM)):
        median = statistics.median(taken[name])
        over = median / floor
        sustained = rate if name == POOLED else None
        verdict = at_most(over, limit)
        table.add(name, median * 1e3, over, sustained, f"≤ {limit:g} x floor", verdict)
    return table


def _build() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "env.py").write_text(SOURCE)
        (Path(folder) / "Dockerfile.hud").write_text(RECIPE)
        words = [sys.executable, "-m", "hud", "build", folder, "--tag", IMAGE]
        subprocess.run(words, check=True, capture_output=True)


async def _times(engine: DockerEngine, times: int) -> tuple[dict[str, list[float]], float]:
    taken: dict[str, list[float]] = {FLOOR: [], OURS: [], POOLED: []}
    async with DockerRuntime(IMAGE) as cold:
        for _ in range(times):
            taken[FLOOR].append(await asyncio.to_thread(_bare, engine))
            begun = time.perf_counter()
            async with cold(ROW):
                pass
            taken[OURS].append(time.perf_counter() - begun)
    async with DockerRuntime(IMAGE, warm=2) as warm:
        for _ in range(times):
            await warm.fill(ROW)
            begun = time.perf_counter()
            async with warm(ROW) as place, connect(place):
                taken[POOLED].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        free = asyncio.Semaphore(8)
        await asyncio.gather(*(_one(warm, free) for _ in range(2 * times)))
        rate = 2 * times / (time.perf_counter() - begun)
    return taken, rate


async def _one(runtime: DockerRuntime, free: asyncio.Semaphore) -> None:
    async with free, runtime(ROW) as place, connect(place):
        pass


def _bare(engine: DockerEngine) -> float:
    begun = time.perf_counter()
    words = ["docker", "run", "--name", "bare", "--network", "none", IMAGE]
    program = "import env; print('ready', flush=True); import time; time.sleep(600)"
    started = subprocess.Popen(
        [*words, "python3", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert started.stdout is not None
    with started.stdout as lines:
        lines.readline()
        engine.docker("rm", "-f", "bare")
        taken = time.perf_counter() - begun
    started.wait()
    return taken
