"""What the tests of the rollout engine share: a home to record in, providers that count, gates."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from hud._core.outcome import Outcome
from hud.agents.run import Run
from hud.environment.task import Task
from hud.eval.recording import close_stores, default_store
from hud.runtimes.base import Provider, Runtime
from hud.store import RunRecord, every_run

Hook = Callable[[], Awaitable[None]]


@contextlib.contextmanager
def recorded_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Record what runs inside under `folder`, and let go of the store afterwards."""
    home = folder / "home"
    monkeypatch.setenv("HUD_HOME", str(home))
    monkeypatch.delenv("HUD_TELEMETRY_LOCAL_DIR", raising=False)
    try:
        yield home
    finally:
        close_stores()


def recorded(run: Run) -> RunRecord:
    """Return what the store kept of a run."""
    return default_store().find_run(run.trace_id or "")


def recorded_runs(job_id: str) -> list[RunRecord]:
    return list(every_run(default_store(), job_id))


def assert_ungraded(run: Run, outcome: Outcome, says: str) -> None:
    """Check an ungraded run, in memory and as kept: its outcome, its sentence, no reward."""
    assert (run.outcome, run.is_graded) == (outcome, False)
    assert run.reward != run.reward, "an ungraded reward is NaN"
    assert says in (run.trace.error or ""), run.trace.error
    kept = recorded(run)
    assert (kept.outcome, kept.reward) == (outcome, None)
    assert says in (kept.error or "")


async def echo(run: Run) -> str:
    """Answer with the prompt's last word."""
    return run.prompt_text.split()[-1]


class Counting:
    """Count how often places are made and torn down; optionally misbehave while doing so."""

    def __init__(
        self, inner: Provider, *, on_enter: Hook | None = None, on_exit: Hook | None = None
    ) -> None:
        self.inner = inner
        self.on_enter = on_enter
        self.on_exit = on_exit
        self.entered = 0
        self.left = 0
        self.torn_down = 0
        self.errors: list[BaseException | None] = []

    @property
    def is_even(self) -> bool:
        """Whether every place that was made was torn down, once and to the end."""
        return self.entered == self.left == self.torn_down

    @contextlib.asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        self.entered += 1
        error: BaseException | None = None
        try:
            if self.on_enter is not None:
                await self.on_enter()
            async with self.inner(task) as place:
                yield place
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.left += 1
            self.errors.append(error)
            if self.on_exit is not None:
                await self.on_exit()
            self.torn_down += 1


class Gate:
    """Where a rollout stops until the test says so."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, *_: Any) -> None:
        self.reached.set()
        await self.opened.wait()


async def forever(*_: Any) -> None:
    await asyncio.Event().wait()


def leap(seconds: float) -> None:
    """Move the running loop's clock ahead, so that what is due by then is due now."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds


async def outlast(seconds: float) -> None:
    """Take longer than `seconds`, at once."""
    leap(seconds + 1)
    await forever()
