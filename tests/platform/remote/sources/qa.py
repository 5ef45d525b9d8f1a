"""Questions about numbers, and templates that break in every way there is."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud.environment import Environment

env = Environment(name="qa")


@env.template()
async def ask(number: int = 1) -> AsyncGenerator[Any, Any]:
    answer = yield f"What is {number} + 1?"
    yield 1.0 if str(answer).strip() == str(number + 1) else 0.0


@env.template()
async def slow(marker: str) -> AsyncGenerator[Any, Any]:
    """Wait in grading until the file `marker` is there; each wait leaves a line beside it."""
    yield "wait"
    await asyncio.to_thread(_wait_for, Path(marker))
    yield 1.0


def _wait_for(marker: Path) -> None:
    with Path(f"{marker}.grading").open("a") as file:
        file.write("x\n")
    while not marker.exists():
        time.sleep(0.02)


@env.template()
async def killed(marker: str) -> AsyncGenerator[Any, Any]:
    """Die in the middle of the first grading, and be graded the second time."""
    yield "wait"
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    yield 1.0


@env.template()
async def broken() -> AsyncGenerator[Any, Any]:
    """Fail in grading, always."""
    yield "wait"
    raise RuntimeError("the grader is broken")
    yield 1.0
