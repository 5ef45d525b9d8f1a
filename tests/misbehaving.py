"""An environment that misbehaves in every way it can, and one rollout of it."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import Any

from hud import Environment
from hud._core.errors import ModelFault
from hud.agents.run import Run
from hud.environment.task import Task
from hud.eval import LocalRuntime, rollout
from hud.runtimes.base import Provider
from tests.rollouts import (
    Counting,
    echo,
    outlast,
)

Steps = AsyncGenerator[Any, Any]

env = Environment(name="faults")


@env.template()
async def good(word: str = "yes") -> Steps:
    answer = yield f"say {word}"
    yield float(answer == word)


@env.template()
async def raises_in_start() -> Steps:
    raise LookupError("the shelf is empty")
    yield


@env.template()
async def yields_nothing() -> Steps:
    return
    yield


@env.template()
async def yields_once() -> Steps:
    yield "?"


@env.template()
async def yields_thrice() -> Steps:
    yield "?"
    yield 1.0
    yield 1.0


@env.template()
async def no_json_prompt() -> Steps:
    yield {"prompt": object()}
    yield 1.0


@env.template()
async def no_message_prompt() -> Steps:
    yield [{"role": "user", "content": {"type": "hologram"}}]
    yield 1.0


@env.template()
async def huge_prompt() -> Steps:
    yield "x" * (17 << 20)
    yield 1.0


@env.template()
async def grades(kind: str) -> Steps:
    yield "?"
    match kind:
        case "raise":
            raise LookupError("the ruler broke")
        case "nan":
            yield math.nan
        case "inf":
            yield -math.inf
        case "text":
            yield "full marks"
        case "none":
            yield None
        case "no score":
            yield {"points": 3}
        case "huge":
            yield {"score": 1.0, "info": {"x": "x" * (17 << 20)}}
        case "exit":
            raise SystemExit(3)
        case _:
            raise ModelFault("the judge's model is down")


@env.template()
async def waits(phase: str) -> Steps:
    if phase == "start":
        await outlast(10)
    yield "?"
    await outlast(10)


def task(id: str, **args: Any) -> Task:
    return Task(env="faults", id=id, args=args)


async def play(row: Task, agent: Any = echo, runtime: Provider | None = None, **more: Any) -> Run:
    """Run a task once, in a place that is counted."""
    provider = Counting(runtime or LocalRuntime(env))
    run = await rollout(row, agent, runtime=provider, **more)
    assert provider.is_even
    return run
