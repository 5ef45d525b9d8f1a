"""Hold many conversations at once on one event loop, and measure how late it is.

Through an agent in recorded rollouts, or with the bare SDK and nothing else.
"""

from __future__ import annotations

import asyncio
import runpy
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.programs import bare, spec, turns
from hud import LocalRuntime, Taskset

BEAT_S = 0.01


@dataclass(frozen=True)
class Work:
    """What to do.

    Attributes:
        way: `agent`, or `bare`: conversations as plain tasks.
        dialect: As in `turns`.
        ramp_s: Over how long they begin, evenly.
    """

    way: str
    server: str
    turns: int
    at_once: int
    ramp_s: float
    dialect: str = "chat"


class Heart:
    """A task that wakes up every 10 ms.

    Attributes:
        late_s: How late it did, each time.
        own_s: CPU time of the loop's thread since the time before: its own part of the lateness.
    """

    def __init__(self) -> None:
        self.late_s: list[float] = []
        self.own_s: list[float] = []

    async def beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, spent_s = loop.time() + BEAT_S, time.thread_time()
            await asyncio.sleep(BEAT_S)
            self.late_s.append(loop.time() - due)
            self.own_s.append(time.thread_time() - spent_s)


def share_ms(values: list[float], share: float) -> float:
    """Return what that share of some seconds is not above, in milliseconds."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Ramp:
    """Lets through one after the other, spread over the time."""

    def __init__(self, work: Work) -> None:
        self._step_s = work.ramp_s / work.at_once
        self._began = time.monotonic()
        self._count = 0

    async def wait(self) -> None:
        due = self._began + self._count * self._step_s
        self._count += 1
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def with_sdk(work: Work) -> None:
    hold = bare.conversation(work.dialect, work.server)
    prompt = f"Speak {work.turns} times, looking at a place every time, and then say done."
    ramp = Ramp(work)

    async def one() -> None:
        await ramp.wait()
        answer = await hold(prompt, bare.call_look)
        assert answer == "done", answer

    async with asyncio.TaskGroup() as group:
        for _ in range(work.at_once):
            group.create_task(one())


async def with_agent(work: Work) -> None:
    source: dict[str, Any] = runpy.run_path(str(turns.SOURCES / "looking.py"))
    inner = turns.make_agent(turns.Work("agent", work.server, work.turns, 1, work.dialect))
    inner.check_ready()
    ramp = Ramp(work)

    async def agent(run: Any) -> None:
        await ramp.wait()
        await inner(run)

    taskset = Taskset("looking", [source["look_around"](turns=work.turns)])
    runtime: Any = LocalRuntime(source["env"])
    job = await taskset.run(agent, runtime=runtime, group=work.at_once, max_concurrent=work.at_once)
    broken = [run for run in job.runs if run.reward != 1.0]
    if broken:
        raise SystemExit(f"{len(broken)} are not well: {broken[0].trace.error}")
    assert all(len(run.trace.steps) >= 2 * work.turns - 1 for run in job.runs)


async def main(work: Work) -> None:
    hold = with_sdk if work.way == "bare" else with_agent
    # What is loaded on first use is loaded, and the imports' own pauses are over.
    await hold(Work(work.way, work.server, 1, 2, 0.1, work.dialect))
    heart = Heart()
    beating = asyncio.create_task(heart.beat())
    cpu_s, began = time.process_time(), time.monotonic()
    await hold(work)
    wall_s = time.monotonic() - began
    cpu_s = time.process_time() - cpu_s
    beating.cancel()
    spec.write(
        {
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "p50_ms": share_ms(heart.late_s, 0.5),
            "p99_ms": share_ms(heart.late_s, 0.99),
            "own_p99_ms": share_ms(heart.own_s, 0.99),
        }
    )


if __name__ == "__main__":
    asyncio.run(main(spec.read(Work)))
