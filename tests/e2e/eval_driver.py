"""An eval process for the fault tests: rollouts without end, one line each, until it is killed.

Usage: `python eval_driver.py SOURCE`. Prints `parent PID` for every new warm parent, `child PID`
for every rollout, `graded SCORE` or `fault CODE` for its end.
"""

from __future__ import annotations

import asyncio
import sys

from hud._core.errors import HudError
from hud.clients import connect
from hud.environment.task import Task
from hud.runtimes.subprocess import SubprocessRuntime

WORKERS = 3


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def rollout(runtime: SubprocessRuntime) -> None:
    row = Task(env="faulty", id="leak")
    try:
        async with runtime(row) as place:
            say("parent", runtime.parent_pid)
            async with connect(place, ready_timeout=5) as client:
                frame = await client.start_task(row.id)
                say("child", str(frame["prompt"]).split()[-1])
                grade = await client.grade({"answer": ""})
                await client.bye()
                say("graded", grade["score"])
    except HudError as error:
        say("fault", error.code)


async def main(source: str) -> None:
    async with SubprocessRuntime(source, ready_timeout=30) as runtime:

        async def work() -> None:
            while True:
                await rollout(runtime)

        await asyncio.gather(*(work() for _ in range(WORKERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
