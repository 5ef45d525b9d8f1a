"""A policy on gym-pusht: alone on the tasks of another example, then eight rollouts in one batch.

pip install 'hud-python[robot]' gym-pusht
python examples/robot_policy/run.py
"""

import asyncio
from pathlib import Path

from policy import Straight, Table
from tasks import tasks

from hud import Job, LocalRuntime, Taskset
from hud.agents.robot import BatchedAgent, RobotAgent, RobotConfig, ScaledAdapter
from hud.agents.types import InferenceStep, ObservationStep

ELSEWHERE = Path(__file__).parents[1] / "robot" / "tasks.py"


def ticks(job: Job) -> list[int]:
    """Return how many observations each run's trace holds, the last one left out."""
    kinds = [[type(step) for step in run.trace.steps] for run in job.runs]
    return [kind.count(ObservationStep) - 1 for kind in kinds]


async def main() -> None:
    model = Straight()
    alone = RobotAgent(model=model, adapter=ScaledAdapter(Table(chunk_size=4)))
    job = await Taskset.from_file(ELSEWHERE).run(
        alone, runtime=LocalRuntime(ELSEWHERE), max_concurrent=1
    )
    for run, count in zip(job.runs, ticks(job), strict=True):
        planned = sum(isinstance(step, InferenceStep) for step in run.trace.steps)
        print(f"alone: {run.reward:.1f}  {run.grade.content}; {planned} chunks inferred")
        assert planned == -(-count // 4), "four actions of each chunk of eight, then anew"
    assert job.reward == 1.0, [run.trace.error for run in job.runs]
    assert set(model.batches) == {1}

    model = Straight()
    one = RobotAgent(RobotConfig(replan_after=1), model=model, adapter=ScaledAdapter(Table()))
    many = BatchedAgent(one, batch_size=8, max_wait_s=60.0)
    job = await Taskset(tasks).run(many, max_concurrent=8)
    for run in job.runs:
        print(f"of eight: {run.reward:.1f}  {run.grade.content}")
    print(f"{sum(ticks(job))} actions from {len(model.batches)} inferences")
    assert job.reward == 1.0, [run.trace.error for run in job.runs]
    assert all(run.trace.stop_reason == "done" for run in job.runs)
    assert len(model.batches) == max(ticks(job)), "one inference a tick, for all who are left"
    assert sum(model.batches) == sum(ticks(job)) and max(model.batches) == 8


if __name__ == "__main__":
    asyncio.run(main())
