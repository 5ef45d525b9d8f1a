"""Run letter-count rollouts through the public SDK, ours or the peer's: the same lines for both.

The agent answers at once, waits a given time, or holds every rollout until all are in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import runpy
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import proc
from benchmarks.programs import spec
from hud import LocalRuntime, SubprocessRuntime, Taskset
from hud.agents.base import Agent

LETTERS = Path(__file__).resolve().parent.parent / "sources" / "letters.py"
TASKS = 10


@dataclass(frozen=True)
class Work:
    """What to run.

    Attributes:
        place: `path`, `live`, `constructor`, `subprocess`, or `implied` (no runtime given).
        wait_s: How long the agent waits before it answers.
        hold: Whether every agent waits until all rollouts are in flight; memory is taken then.
        warm_up: Rollouts beforehand, so that what is loaded on first use is loaded.
        tasks: Over how many tasks the rollouts are spread.
    """

    place: str
    rollouts: int
    concurrent: int
    wait_s: float = 0.0
    hold: bool = False
    warm_up: int = 20
    tasks: int = TASKS


class Answer(Agent):
    """Answer right, after waiting."""

    def __init__(self, wait_s: float = 0.0) -> None:
        super().__init__()
        self.wait_s = wait_s

    async def __call__(self, run: Any) -> None:
        if self.wait_s:
            await asyncio.sleep(self.wait_s)
        run.trace.content = "3"


class Hold(Agent):
    """Answer once `expected` rollouts are in flight, having looked at the memory they take."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self.left = expected
        self.all_here = asyncio.Event()
        self.held_bytes = 0

    async def __call__(self, run: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.held_bytes = proc.memory_bytes(os.getpid())
            self.all_here.set()
        await self.all_here.wait()
        run.trace.content = "3"


async def main(work: Work) -> None:
    source: dict[str, Any] = runpy.run_path(str(LETTERS))
    runtime = place(work.place, source)
    async with contextlib.AsyncExitStack() as stack:
        if work.place == "subprocess" and hasattr(runtime, "__aenter__"):
            await stack.enter_async_context(runtime)
        if work.warm_up:
            await run(work, source, runtime, Answer(), work.warm_up)
        agent = Hold(work.rollouts) if work.hold else Answer(work.wait_s)
        idle_bytes = proc.memory_bytes(os.getpid()) if work.hold else 0
        cpu_s, began = proc.cpu_s(os.getpid()), time.perf_counter()
        await run(work, source, runtime, agent, work.rollouts)
        wall_s = time.perf_counter() - began
        cpu_s = proc.cpu_s(os.getpid()) - cpu_s
    spec.write(
        {
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "idle_bytes": idle_bytes,
            "held_bytes": agent.held_bytes if isinstance(agent, Hold) else 0,
        }
    )


def place(name: str, source: dict[str, Any]) -> Any:
    """Return the provider that is meant."""
    match name:
        case "path":
            return LocalRuntime(str(LETTERS))
        case "live":
            return LocalRuntime(source["env"])
        case "constructor":
            return LocalRuntime(lambda task: runpy_environment())
        case "subprocess":
            return SubprocessRuntime(str(LETTERS))
        case _:
            return None


def runpy_environment() -> Any:
    """Return a new environment with the template on it, as a constructor would."""
    from hud import Environment

    env = Environment(name="letter-count")
    env.template()(count_letter)
    return env


async def count_letter(word: str = "strawberry", letter: str = "r") -> AsyncGenerator[Any, Any]:
    answer = yield f"How many '{letter}'s are in '{word}'? Reply with just the number."
    yield 1.0 if answer and str(word.count(letter)) in answer else 0.0


async def run(work: Work, source: dict[str, Any], runtime: Any, agent: Agent, times: int) -> None:
    tasks = min(work.tasks, times)
    mint = source["count_letter"]
    rows = [mint(word="strawberry" + "-" * number) for number in range(tasks)]
    taskset = Taskset("letters", rows)
    job = await taskset.run(
        agent, runtime=runtime, group=times // tasks, max_concurrent=work.concurrent
    )
    right = sum(run.reward == 1.0 for run in job.runs)
    if right != times // tasks * tasks:
        broken = next((run.trace.error for run in job.runs if run.reward != 1.0), None)
        raise SystemExit(f"{right} of {times} rollouts were graded 1.0: {broken}")


if __name__ == "__main__":
    asyncio.run(main(spec.read(Work)))
