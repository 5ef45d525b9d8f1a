"""Where a worker's rollouts happen: in its own process, or wherever another engine puts them.

An engine carries out one order at a time per place it has, and hands everything that happens to the
sink it is given. Queueing, leases, retries and records are the worker's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from hud._core.errors import InputError
from hud.environment.task import Task
from hud.eval.rollout import Limits, Plan, new_run, play
from hud.platform.builds.placing import Built
from hud.platform.errors import ApiError
from hud.platform.leases.places import Places
from hud.platform.rollouts.agents import make_remote_agent
from hud.platform.rollouts.order import ModelGateway, Order
from hud.platform.screens.placed import OnPlatform, PlacedRuns
from hud.runtimes.base import Provider, Runtime
from hud.trace.sinks import Sink

LONGEST_S = 6 * 3600.0
"""No rollout lasts longer, whatever it asks for."""

FindBuilt = Callable[[str, str], Built]
"""Finds the latest build of a team's environment by its name; blocks."""


class Engine(AbstractAsyncContextManager[object], Protocol):
    """Carries out orders. Entered once around all of them; for one event loop.

    Attributes:
        width: How many orders it can carry out at a time.
    """

    width: int

    async def play(self, order: Order, gateway: ModelGateway | None, sink: Sink) -> bool:
        """Carry an order out, to its end.

        The sink is given the run's start, its steps and its end. Cancelling this ends the run with
        outcome `cancelled`, its end is given to the sink, and only then is the cancellation passed
        on. A run whose place broke ends with the outcome that says so.

        Returns:
            Whether another attempt at an ungraded run may go better.

        Raises:
            InputError: when what was ordered cannot be run at all; the sink is given no end.
        """
        ...


class EmbeddedEngine:
    """Runs the agents in this process, each against a place of the environment's build."""

    def __init__(self, places: Places, find_built: FindBuilt, *, width: int) -> None:
        self.width = width
        self._places = places
        self._find_built = find_built

    async def __aenter__(self) -> EmbeddedEngine:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def play(self, order: Order, gateway: ModelGateway | None, sink: Sink) -> bool:
        """See `Engine.play`."""
        builds = DeployedBuilds(self._places, self._find_built, order.team)
        return await play_order(order, gateway, sink, builds, self._places.runs)


class DeployedBuilds:
    """Places each task in the latest build of its environment, as one team has deployed it."""

    def __init__(self, places: Places, find_built: FindBuilt, team: str) -> None:
        self._places = places
        self._find_built = find_built
        self._team = team

    @asynccontextmanager
    async def __call__(self, task: Task, /) -> AsyncGenerator[Runtime]:
        try:
            built = await asyncio.to_thread(self._find_built, self._team, task.env)
        except ApiError as error:
            raise InputError(error.message, hint=error.hint) from error
        async with self._places.place(built, task) as place:
            yield place


async def play_order(
    order: Order,
    gateway: ModelGateway | None,
    sink: Sink,
    provider: Provider,
    placed: PlacedRuns,
) -> bool:
    """Carry an order out in places of `provider`, with the engine that `hud eval` uses.

    For engines: it needs nothing of the platform but what it is given. `placed` is told where the
    run stands.

    Raises:
        InputError: when what was ordered cannot be run at all.
    """
    ask = order.ask
    task = ask.as_task()
    agent = make_remote_agent(ask.agent, gateway)
    agent.check_ready()
    try:
        limits = Limits.of(task, agent, min(ask.rollout_timeout or LONGEST_S, LONGEST_S))
    except ValueError as error:
        raise InputError(str(error)) from error
    run = new_run(
        task,
        job_id=order.job_id,
        group_id=ask.group_id,
        trace_id=order.run_id,
        member=order.member,
        attempt=order.attempt,
    )
    noted = OnPlatform(provider, placed, order.team, order.run_id)
    await play(run, Plan(task, agent, noted, limits, (sink,), task.digest()))
    return run.may_pass
