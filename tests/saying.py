"""A small environment and what jobs of it are driven with."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from hud import Environment
from hud.agents.run import Run
from hud.eval import Taskset
from hud.eval.schedule import Options
from tests.rollouts import echo

Steps = AsyncGenerator[Any, Any]

DEADLINE_S = 60.0

env = Environment(name="say")


@env.template()
async def say(word: str = "yes", broken: bool = False) -> Steps:
    if broken:
        raise ValueError("broken for good")
    answer = yield f"say {word}"
    yield float(answer == word)


def words(count: int) -> Taskset:
    return Taskset("words", [say(word=f"w{number}") for number in range(count)])


class Watcher:
    """An observer that keeps what it was told, and may act on it."""

    def __init__(self, on_end: Callable[[Run], None] | None = None) -> None:
        self.began: list[Run] = []
        self.ended_runs: list[Run] = []
        self.retried: list[Run] = []
        self.on_end = on_end

    def started(self, run: Run) -> None:
        self.began.append(run)

    def ended(self, run: Run, *, will_retry: bool) -> None:
        self.ended_runs.append(run)
        if will_retry:
            self.retried.append(run)
        if self.on_end is not None:
            self.on_end(run)


class Failing:
    """An agent that fails the first times and then answers."""

    def __init__(self, faults: Sequence[BaseException]) -> None:
        self.faults = faults
        self.calls: Counter[tuple[str | None, int]] = Counter()

    async def __call__(self, run: Run) -> str:
        calls = self.calls[run.slug, run.member]
        self.calls[run.slug, run.member] += 1
        if calls < len(self.faults):
            raise self.faults[calls]
        return await echo(run)


def options(**more: Any) -> Options:
    given: dict[str, Any] = {"backoff_s": 0.0, **more}
    return Options(**given)
