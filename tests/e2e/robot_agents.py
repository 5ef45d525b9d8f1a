"""What the tests of robot agents share: tasks of walking home, policies and runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hud.agents.base import Agent
from hud.agents.robot import (
    Adapter,
    Model,
)
from hud.agents.run import Run
from hud.agents.types import InferenceStep, ObservationStep
from hud.environment import Environment
from hud.environment.task import Task
from hud.eval import Taskset
from hud.graders import EvaluationResult
from tests.needs import need_module
from tests.rollouts import recorded_in

np = need_module("numpy")
need_module("gymnasium")
need_module("websockets")

from tests.e2e.capabilities import robots  # noqa: E402 — needs gymnasium

ROOT = Path(__file__).parents[2]
Steps = AsyncGenerator[dict[str, Any] | EvaluationResult, None]
MakeTask = Callable[..., Task]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


def points(target: Any = robots.Point, **kwargs: Any) -> MakeTask:
    """Return a template of walking home: 6 steps, unless told otherwise."""
    env = Environment("points")
    robot = env.gym(target, contract=None, **kwargs)

    @env.template()
    async def walk(seed: int = 0) -> Steps:
        info = await robot.reset(seed=seed)
        yield {"prompt": f"walk {seed}", "bindings": {"robot": {"token": info["token"]}}}
        result = await robot.result(token=info["token"])
        place = result["info"].get("place")
        info = {"place": place, "steps": result["steps"]}
        yield EvaluationResult(reward=result["score"], info=info)

    return walk


class Planned(Model):
    """Says the same chunk every time, and keeps what it was shown."""

    def __init__(self, chunk: Any) -> None:
        self.chunk = np.asarray(chunk, float)
        self.shown: list[Any] = []

    def infer(self, batch: Any) -> Any:
        self.shown.append(batch)
        return self.chunk[None]


class Where(Adapter):
    """Shows the place alone."""

    def adapt_observation(self, obs: dict[str, Any], prompt: str) -> Any:
        return {"place": obs["data"]["place"], "prompt": prompt}


async def drive(agent: Agent, *tasks: Task, **kwargs: Any) -> list[Run]:
    """Run each task once, all at the same time; return the runs in the order of the tasks."""
    job = await Taskset(tasks).run(agent, max_concurrent=len(tasks), **kwargs)
    slugs = [task.slug for task in tasks]
    return sorted(job.runs, key=lambda run: slugs.index(run.slug or ""))


async def once(agent: Agent, task: Task | None = None) -> Run:
    (run,) = await drive(agent, task or points()())
    return run


def seen(run: Run) -> list[list[float]]:
    """Return the places on the trace."""
    kept = [step for step in run.trace.steps if isinstance(step, ObservationStep)]
    return [step.state["place"].values for step in kept]


def planned(run: Run) -> list[tuple[int, list[list[float]]]]:
    kept = [step for step in run.trace.steps if isinstance(step, InferenceStep)]
    return [(step.tick, step.chunk) for step in kept]


def seeded(walk: MakeTask, seeds: Sequence[int]) -> list[Task]:
    return [walk(seed=seed) for seed in seeds]
