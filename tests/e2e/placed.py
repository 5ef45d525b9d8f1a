"""What the tests of the subprocess runtime share: driving one place, and looking for remains."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud._core import processes
from hud.clients import HudClient, connect
from hud.environment.task import Task
from hud.runtimes.base import Provider, Runtime

SOURCES = Path(__file__).parent / "sources"
MARK = "HUD_TEST_MARK"
DEADLINE_S = 30.0


def task(env: str, template: str, **args: Any) -> Task:
    return Task(env=env, id=template, args=args)


@contextlib.asynccontextmanager
async def started(provider: Provider, row: Task) -> AsyncGenerator[tuple[Runtime, HudClient, str]]:
    """Yield the place, the client and the prompt of a started task."""
    async with provider(row) as place, connect(place) as client:
        frame = await client.start_task(row.id, row.args)
        yield place, client, str(frame["prompt"])


async def prompt_of(provider: Provider, row: Task) -> str:
    """Run a row to its prompt, say bye, and return the prompt."""
    async with started(provider, row) as (_, client, prompt):
        await client.bye()
        return prompt


async def score_of(provider: Provider, row: Task, answer: str) -> float:
    async with started(provider, row) as (_, client, _prompt):
        frame = await client.grade({"answer": answer})
        await client.bye()
        return float(frame["score"])


def marked(mark: str) -> list[int]:
    """Return the living processes that inherited this test's mark."""
    return [pid for pid in processes.find_marked(MARK, mark) if pid != os.getpid()]


async def until_gone(mark: str) -> None:
    """Wait until no process with this test's mark is left.

    Raises:
        AssertionError: naming what is left when the time is up.
    """
    try:
        async with asyncio.timeout(DEADLINE_S):
            while marked(mark):  # noqa: ASYNC110 -- other processes signal no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"still running: {[described(pid) for pid in marked(mark)]}") from None


def described(pid: int) -> str:
    """Say what a process is and what it waits for."""
    folder = Path(f"/proc/{pid}")
    try:
        words = (folder / "cmdline").read_text().replace("\0", " ")[:300]
        waits = (folder / "wchan").read_text()
        state = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        return f"{pid}: {words}| state, parent, group {state} | {waits}"
    except OSError:
        return f"{pid}: gone"


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    return processes.identity_of(pid) is not None


async def until_childless(pid: int | None) -> None:
    """Wait until a process has no child, zombies included: every one was reaped."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    async with asyncio.timeout(DEADLINE_S):
        while children.read_text().split():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until_dead(*pids: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while any(map(alive, pids)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
