"""The same taskset from Python: reference solutions, nothing at all, and a guess.

python examples/quickstart/run.py
"""

import asyncio
import math
from pathlib import Path

from hud import LocalRuntime, Run, Taskset
from hud.agents import NoopAgent, OracleAgent

SOURCE = Path(__file__).with_name("tasks.py")


async def always_four(run: Run) -> str:
    """Any async function of a run is an agent; what it returns is the answer."""
    return "4"


async def main() -> None:
    tasks = Taskset.from_file(SOURCE)
    runtime = LocalRuntime(SOURCE)

    best = await tasks.run(OracleAgent(SOURCE), runtime=runtime)
    worst = await tasks.run(NoopAgent(), runtime=runtime)
    guess = await tasks.run(always_four, runtime=runtime)

    for job in (best, worst, guess):
        print(f"{job.reward:.3f}  {len(job.runs)} runs, {len(job.errors)} ungraded")
    assert (best.reward, worst.reward) == (1.0, 0.0)
    # Two words have a letter four times, and 4 is JSON (a quarter of the two JSON tasks).
    assert math.isclose(guess.reward, (2 + 2 * 0.25) / len(tasks))
    assert not any(job.errors for job in (best, worst, guess))


if __name__ == "__main__":
    asyncio.run(main())
