"""Where the rollouts stand that this process holds, so that somebody may look at them.

Nobody who looks keeps a place alive: it is there as long as its rollout.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hud.environment.task import Task
from hud.runtimes.base import Provider, Runtime


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """A rollout's environment, as long as it stands.

    Attributes:
        over: Done with the reason once it does not.
    """

    place: Runtime
    over: asyncio.Future[str]


class PlacedRuns:
    """The rollouts of one process by team and run. For one event loop."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Standing] = {}
        self._starting: set[tuple[str, str]] = set()

    @contextlib.contextmanager
    def starting(self, team: str, run_id: str) -> Generator[None]:
        """Know while the block runs that a run is placed here soon, or is already."""
        self._starting.add((team, run_id))
        try:
            yield
        finally:
            self._starting.discard((team, run_id))

    def is_starting(self, team: str, run_id: str) -> bool:
        """Tell whether a run of the team is about to stand here."""
        return (team, run_id) in self._starting

    @contextlib.contextmanager
    def at(self, team: str, run_id: str, place: Runtime) -> Generator[None]:
        """Know where a run stands while the block runs."""
        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        standing = self._held[team, run_id] = Standing(place, over)
        try:
            yield
        finally:
            if self._held.get((team, run_id)) is standing:
                del self._held[team, run_id]
            over.set_result("the rollout is over")

    def find(self, team: str, run_id: str) -> Standing | None:
        """Return where a run of the team stands, None when that is not here."""
        return self._held.get((team, run_id))


class OnPlatform:
    """A provider that says of one run where it is placed."""

    def __init__(self, provider: Provider, placed: PlacedRuns, team: str, run_id: str) -> None:
        self._provider = provider
        self._placed = placed
        self._team = team
        self._run_id = run_id

    @asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        with self._placed.starting(self._team, self._run_id):
            async with self._provider(task) as place:
                with self._placed.at(self._team, self._run_id, place):
                    yield place
