"""Rollouts that can be held where they are: by their agent, or in the middle of grading."""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud import Environment

env = Environment(name="faulted")


async def reference(run: Any, n: int, gate: str) -> str:
    """Say that it began, and answer when it may: this runs where the agent does."""
    (Path(gate) / f"started-{n}").touch()
    while not ((Path(gate) / f"go-{n}").exists() or (Path(gate) / "go").exists()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return "yes"


@env.template(solution=reference)
async def work(n: int, gate: str) -> AsyncGenerator[Any, Any]:
    """Be graded at once, but for number 1, whose grading takes a while."""
    answer = yield f"number {n}"
    if n == 1:
        call_myself("hud-grading")
        await asyncio.sleep(3)
        call_myself("hud-graded")
    yield 1.0 if answer == "yes" else 0.0


@env.template()
async def held(name: str, n: int = 0) -> AsyncGenerator[Any, Any]:
    """Never end grading, but for numbers above 0, which are graded at once."""
    answer = yield f"number {n}"
    if n == 0:
        call_myself(name)
        await asyncio.sleep(3600)
    yield 1.0 if answer == "yes" else 0.0


def call_myself(name: str) -> None:
    """Take a name that whoever looks at the machine's processes can see."""
    Path("/proc/self/comm").write_text(name)


tasks = [work(n=n, gate=os.environ.get("FAULT_GATE", "")) for n in range(5)]
for number, task in enumerate(tasks):
    task.slug = f"work-{number}"
