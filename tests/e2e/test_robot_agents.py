"""Robot agents end to end: a policy drives a simulator in its own process, and is graded on it."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import InputError
from hud._core.outcome import Outcome
from hud.agents.robot import (
    Adapter,
    BatchedAgent,
    DatasetWriter,
    Model,
    RobotAgent,
    RobotConfig,
    ScaledAdapter,
)
from hud.agents.types import InferenceStep, ObservationStep, VideoSegmentStep
from hud.environment import Environment
from hud.graders import EvaluationResult
from tests.e2e.lerobot_datasets import LEROBOT, stand_in
from tests.e2e.robot_agents import (
    ROOT,
    Planned,
    Steps,
    Where,
    drive,
    home,
    once,
    planned,
    points,
    seeded,
    seen,
)
from tests.needs import need_module
from tests.rollouts import assert_ungraded, recorded

np = need_module("numpy")
need_module("gymnasium")
need_module("websockets")

from tests.e2e.capabilities import robots  # noqa: E402 — needs gymnasium

__all__ = ["home"]


async def test_an_episode_is_driven_to_its_end_and_graded() -> None:
    model = Planned([[1.0, 0.5]])
    run = await once(RobotAgent(model=model, adapter=Where()))
    assert (run.outcome, run.reward, run.trace.stop_reason) == (Outcome.GRADED, 1.0, "done")
    assert run.trace.content == "6 steps, the end of the episode"
    assert run.grade.info == {"place": [6.0, 3.0], "steps": 6}
    assert seen(run) == [[tick, tick / 2] for tick in range(7)]
    assert planned(run) == [(tick, [[1.0, 0.5]]) for tick in range(6)]
    assert [shown["prompt"] for shown in model.shown] == ["walk 0"] * 6
    names = [step.names for step in run.trace.steps if isinstance(step, InferenceStep)]
    assert names[0] == ["act_0", "act_1"]
    rows = [step for step in run.trace.steps if step.extra.get("robot")]
    assert [row.extra["robot"] for row in rows] == [{"ticks": 7, "reward": 9.0}]


async def test_without_an_adapter_the_policy_sees_the_observation_as_it_is() -> None:
    model = Planned([[1.0, 0.0], [2.0, 0.0]])
    run = await once(RobotAgent(model=model))
    assert run.reward == 1.0 and run.grade.info["place"] == [9.0, 0.0]
    assert len(model.shown) == 3, "a whole chunk is carried out before the next"
    assert model.shown[0]["data"]["camera"].shape == (24, 32, 3)
    assert not model.shown[0]["terminated"]


@pytest.mark.parametrize("said", ["adapter", "settings", "row"])
async def test_a_receding_horizon_carries_out_the_beginning_of_each_chunk(said: str) -> None:
    model = Planned([[1.0, 0.0], [10.0, 0.0], [5.0, 5.0], [5.0, 5.0]])
    task = points()()
    if said == "row":
        task = task.model_copy(update={"agent_config": {"replan_after": 2}})
    config = RobotConfig(replan_after=2) if said == "settings" else None
    adapter = Where(chunk_size=2 if said == "adapter" else None)
    run = await once(RobotAgent(config, model=model, adapter=adapter), task)
    assert run.grade.info["place"] == [33.0, 0.0]
    assert planned(run) == [(tick, [[1.0, 0.0], [10.0, 0.0]]) for tick in (0, 2, 4)]


async def test_overlapping_chunks_are_averaged_and_the_trace_holds_what_was_done() -> None:
    model = Planned([[0.0, 0.0], [1.0, 0.0]])
    run = await once(RobotAgent(RobotConfig(ensemble=0.0), model=model, adapter=Where()))
    assert len(model.shown) == 6
    done = [chunk[0][0] for _, chunk in planned(run)]
    assert done == [0.0, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert run.grade.info["place"] == [2.5, 0.0]


async def test_actions_are_scaled_and_cut_to_what_the_contract_allows() -> None:
    model = Planned([[0.1, -7.0]])
    run = await once(RobotAgent(model=model, adapter=ScaledAdapter(Where())))
    assert run.grade.info["place"] == pytest.approx([6.0, -60.0])
    assert planned(run)[0][1][0] == pytest.approx([1.0, -10.0])


class Later(Where):
    def adapt_action(self, action: Any, obs: dict[str, Any]) -> Any:
        return action + obs["data"]["place"]


async def test_an_action_changed_at_the_last_moment_is_on_the_trace_as_it_was_sent() -> None:
    task = points(home=3)()
    run = await once(RobotAgent(model=Planned([[1.0, 0.0]] * 3), adapter=Later()), task)
    assert run.grade.info["place"] == [7.0, 0.0]
    assert planned(run) == [(0, [[1.0, 0.0]] * 3), (1, [[2.0, 0.0]]), (2, [[4.0, 0.0]])]


class Short(RobotAgent):
    max_steps = 4


@pytest.mark.parametrize(
    ("agent", "row", "steps"),
    [
        (RobotAgent(RobotConfig(max_steps=2), model=Planned([[1, 0]])), None, 2),
        (Short(model=Planned([[1, 0]])), None, 4),
        (Short(RobotConfig(max_steps=3), model=Planned([[1, 0]])), None, 3),
        (Short(RobotConfig(max_steps=3), model=Planned([[1, 0]])), 5, 5),
        (Short(model=Planned([[1, 0]])), 0, 0),
    ],
)
async def test_a_limit_of_steps_is_graded_on_the_state_it_left(
    agent: RobotAgent, row: int | None, steps: int
) -> None:
    task = points()()
    if row is not None:
        task = task.model_copy(update={"agent_config": {"max_steps": row}})
    run = await once(agent, task)
    assert (run.outcome, run.reward, run.trace.stop_reason) == (Outcome.GRADED, 0.0, "max_steps")
    assert run.grade.info["steps"] == steps and len(seen(run)) == steps + 1
    assert recorded(run).stop_reason == "max_steps"


async def test_an_episode_that_ends_at_its_limit_is_done_and_minus_one_is_no_limit() -> None:
    for limit in (6, -1):
        agent = RobotAgent(RobotConfig(max_steps=limit), model=Planned([[1, 0]]))
        run = await once(agent)
        assert (run.reward, run.trace.stop_reason) == (1.0, "done")


class Cautious(RobotAgent):
    def should_stop(self, obs: dict[str, Any], *, step: int, max_steps: int) -> bool:
        assert isinstance(self.adapter, Where) and self.adapter.state_key == "nest/bits"
        assert max_steps == 520
        return bool(obs["data"]["place"][0] >= 3)


async def test_an_agent_may_stop_by_itself() -> None:
    run = await once(Cautious(model=Planned([[1, 0]]), adapter=Where()))
    assert (run.outcome, run.trace.stop_reason) == (Outcome.GRADED, "done")
    assert run.grade.info["steps"] == 3 and run.reward == 0.0


async def test_cameras_are_recorded_as_video_and_stills_when_asked_for() -> None:
    need_module("av")
    config = RobotConfig(video=True, stills_every=3)
    run = await once(RobotAgent(config, model=Planned([[1, 0]])))
    videos = [step for step in run.trace.steps if isinstance(step, VideoSegmentStep)]
    assert sum(step.segment["frames"] + step.segment["dropped"] for step in videos) == 7
    kept = [step for step in run.trace.steps if isinstance(step, ObservationStep)]
    assert [step.tick for step in kept if step.images] == [0, 3, 6]


class Saving(RobotAgent):
    save = True


async def test_episodes_that_ended_well_are_written_as_a_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stand_in(monkeypatch, tmp_path)
    good = Saving(model=Planned([[1.0, 0.0]]))
    assert (await once(good)).reward == 1.0
    stuck = await once(Saving(model=Planned([[1.0, 0.0], [9.0, 0.0]])))
    assert_ungraded(stuck, Outcome.CAPABILITY, "the arm is stuck")
    DatasetWriter.finalize()
    (dataset,) = made
    (episode,) = dataset.episodes
    assert [frame["observation.place"].tolist() for frame in episode] == [
        [tick, 0.0] for tick in range(6)
    ]
    assert episode[0]["action"].tolist() == [1.0, 0.0] and episode[0]["task"] == "walk 0"
    assert episode[0]["observation.images.camera"].shape == (24, 32, 3)


async def test_saving_without_lerobot_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, LEROBOT, None)
    with pytest.raises(InputError, match="needs the package lerobot"):
        await once(Saving(model=Planned([[1.0, 0.0]])))


class Broken(Model):
    def infer(self, batch: Any) -> Any:
        raise ZeroDivisionError("the gripper has no width")


async def test_a_policy_that_raises_is_the_agents_fault() -> None:
    says = "the policy Broken raised ZeroDivisionError: the gripper has no width"
    assert_ungraded(await once(RobotAgent(model=Broken())), Outcome.AGENT, says)


@pytest.mark.parametrize(
    ("chunk", "says"),
    [
        ([[1.0, 2.0, 3.0]], "an action of shape [3], the contract says [2]"),
        ([[1.0, float("nan")]], "an action that is not finite"),
        ([], "returned actions of shape"),
    ],
)
async def test_an_action_the_robot_cannot_carry_out_is_the_agents_fault(
    chunk: Any, says: str
) -> None:
    assert_ungraded(await once(RobotAgent(model=Planned(chunk))), Outcome.AGENT, says)


@pytest.mark.parametrize(
    ("first", "says"), [(9.0, "the arm is stuck"), (8.0, "connection is lost")]
)
async def test_a_simulator_that_breaks_is_the_capabilitys_fault(first: float, says: str) -> None:
    agent = RobotAgent(model=Planned([[1.0, 0.0], [first, 0.0]]))
    assert_ungraded(await once(agent), Outcome.CAPABILITY, says)


async def test_an_environment_without_a_robot_is_named() -> None:
    env = Environment("desk")

    @env.template()
    async def ask() -> Steps:
        yield {"prompt": "?"}
        yield EvaluationResult(reward=1.0)

    run = await once(RobotAgent(model=Planned([[1, 0]])), ask())
    assert_ungraded(run, Outcome.AGENT, "no capability 'openpi/0'")


async def test_a_setting_of_the_row_that_is_none_is_named() -> None:
    task = points()().model_copy(update={"agent_config": {"colour": "red"}})
    run = await once(RobotAgent(model=Planned([[1, 0]])), task)
    assert_ungraded(run, Outcome.AGENT, "colour: Extra inputs are not permitted")


class Homing(Model):
    """Goes one step along x from wherever it is, for any number of rollouts; counts them."""

    def __init__(self, fails_at: float | None = None) -> None:
        self.sizes: list[int] = []
        self.fails_at = fails_at

    def infer(self, batch: Any) -> Any:
        place = np.atleast_2d(batch["place"])
        self.sizes.append(len(place))
        if self.fails_at is not None and (place[:, 0] >= self.fails_at).any():
            raise ArithmeticError("off the map")
        return np.tile([[[1.0, 0.0]]], (len(place), 1, 1))


async def test_one_agent_drives_many_rollouts_at_once_and_keeps_them_apart() -> None:
    model = Planned([[1.0, 0.0]])
    walk = points(num_envs=3)
    runs = await drive(RobotAgent(model=model, adapter=Where()), *seeded(walk, (1, 2, 3)))
    for seed, run in enumerate(runs, 1):
        assert run.reward == 1.0 and run.grade.info["place"] == [seed + 6.0, 0.0]
        assert seen(run)[0] == [seed, 0.0]
    told = sorted((shown["prompt"], float(shown["place"][0])) for shown in model.shown)
    expected = [(f"walk {seed}", float(seed + tick)) for seed in (1, 2, 3) for tick in range(6)]
    assert told == expected


@pytest.mark.parametrize("target", [robots.Point, robots.points], ids=["copies", "vector"])
async def test_rollouts_side_by_side_share_one_inference_a_tick(target: Any) -> None:
    model = Homing()
    agent = BatchedAgent(RobotAgent(model=model, adapter=Where()), batch_size=8, max_wait_s=3600.0)
    runs = await drive(agent, *seeded(points(target, num_envs=8), range(8)))
    assert [run.reward for run in runs] == [1.0] * 8
    assert [run.grade.info["place"][0] for run in runs] == [seed + 6.0 for seed in range(8)]
    assert model.sizes == [8] * 6


async def test_a_batch_that_fails_is_the_agents_fault_in_every_rollout_of_it() -> None:
    agent = BatchedAgent(
        RobotAgent(model=Homing(fails_at=4), adapter=Where()), batch_size=3, max_wait_s=3600.0
    )
    for run in await drive(agent, *seeded(points(num_envs=3), (0, 1, 2))):
        assert_ungraded(run, Outcome.AGENT, "the policy Homing raised ArithmeticError: off the map")


class Hurried(Where):
    """The rollout from 1 loses its way for good after two steps."""

    def adapt_observation(self, obs: dict[str, Any], prompt: str) -> Any:
        if prompt == "walk 1" and obs["data"]["place"][0] >= 3:
            raise LookupError("lost")
        return super().adapt_observation(obs, prompt)


async def test_a_rollout_that_ends_early_does_not_hold_up_the_others() -> None:
    model = Homing()
    agent = BatchedAgent(
        RobotAgent(model=model, adapter=Hurried()), batch_size=3, max_wait_s=3600.0
    )
    first, lost, third = await drive(agent, *seeded(points(num_envs=3), (0, 1, 2)))
    assert first.reward == third.reward == 1.0
    assert_ungraded(lost, Outcome.AGENT, "LookupError: lost")
    assert model.sizes == [3, 3, 2, 2, 2, 2]


class Pusher(Model):
    """Pushes the block of gym-pusht along, one rollout or many."""

    def infer(self, batch: Any) -> Any:
        at = np.atleast_2d(batch["place"])
        return at[:, None] + 4.0 * np.arange(1, 9)[None, :, None] * np.array([0.0, 1.0])


class Table(Adapter):
    def adapt_observation(self, obs: dict[str, Any], prompt: str) -> Any:
        assert self.image_keys == ["pixels"] and self.state_key == "agent_pos"
        return {"place": obs["data"]["agent_pos"]}


async def test_a_block_is_moved_on_gym_pusht() -> None:
    need_module("gym_pusht")
    env = Environment("push-t")
    robot = env.gym("gym_pusht/PushT-v0", obs_type="pixels_agent_pos", contract=None, num_envs=2)

    @env.template()
    async def push(x: float) -> Steps:
        start = [x, 120.0, x, 200.0, 0.0]
        info = await robot.reset(seed=0, options={"reset_to_state": start})
        yield {"prompt": "push it down", "bindings": {"robot": {"token": info["token"]}}}
        result = await robot.result(token=info["token"])
        down = result["info"]["block_pose"][1] - 200.0
        yield EvaluationResult(reward=float(down > 20), info={"down": down})

    one = RobotAgent(RobotConfig(max_steps=40), model=Pusher(), adapter=Table(chunk_size=4))
    for agent in (one, BatchedAgent(one, batch_size=2)):
        for run in await drive(agent, push(200.0), push(300.0)):
            assert (run.reward, run.trace.stop_reason) == (1.0, "max_steps"), run.trace.error
            kept = [step for step in run.trace.steps if isinstance(step, ObservationStep)]
            assert len(kept) == 41 and "agent_pos" in kept[0].state


async def test_in_real_time_the_robot_moves_on_while_the_policy_infers() -> None:
    model = Planned([[1.0, 0.0]] * 10)
    task = points(home=100, fps=50, realtime=True)()
    run = await once(RobotAgent(RobotConfig(replan_after=3), model=model, adapter=Where()), task)
    assert (run.outcome, run.reward, run.trace.stop_reason) == (Outcome.GRADED, 1.0, "done")
    moved = run.grade.info["place"][0]
    assert 0 < moved <= 100, "it holds still when there is nothing to do"
    ticks = [tick for tick, _ in planned(run)]
    assert len(ticks) > 1 and all(b - a >= 3 for a, b in itertools.pairwise(ticks))
    assert seen(run)[-1] == [moved, 0.0]


async def test_in_real_time_the_next_chunk_comes_by_the_time_the_last_has_run_out() -> None:
    model = Planned([[1.0, 0.0]] * 10)
    task = points(home=40, fps=50, realtime=True)()
    run = await once(RobotAgent(model=model, adapter=Where()), task)
    assert run.reward == 1.0 and 2 <= len(planned(run)) <= 20


async def test_real_time_ends_at_its_limit_and_its_policys_faults_are_told() -> None:
    walk = points(home=1000, fps=100, realtime=True)
    run = await once(RobotAgent(RobotConfig(max_steps=5), model=Planned([[1, 0]])), walk())
    assert (run.outcome, run.trace.stop_reason) == (Outcome.GRADED, "max_steps")
    broken = await once(RobotAgent(model=Broken()), walk())
    assert_ungraded(broken, Outcome.AGENT, "the policy Broken raised ZeroDivisionError")


@pytest.mark.parametrize(
    ("config", "is_realtime", "says"),
    [
        (RobotConfig(realtime=True), False, "does not move in real time"),
        (RobotConfig(ensemble=0.1), True, "chunks cannot be averaged"),
    ],
)
async def test_settings_that_do_not_fit_the_robots_time_are_named(
    config: RobotConfig, is_realtime: bool, says: str
) -> None:
    task = points(realtime=is_realtime)()
    run = await once(RobotAgent(config, model=Planned([[1, 0]])), task)
    assert_ungraded(run, Outcome.AGENT, says)


TORCH = """
import asyncio
import torch
from hud.agents.robot import BatchedAgent, LeRobotAdapter, LeRobotModel, RobotAgent
from hud.eval import Taskset
from tests.e2e.test_robot_agents import points, seeded


class Policy:
    # What LeRobot's PreTrainedPolicy offers to run it.
    def __init__(self):
        self.sizes = []

    def select_action(self, batch):
        raise AssertionError("its queue of actions would mix rollouts up")

    def predict_action_chunk(self, batch):
        assert not torch.is_grad_enabled()
        state, image = batch["observation.state"], batch["observation.images.top"]
        assert image.shape == (len(state), 3, 24, 32) and image.dtype == torch.float32
        assert float(image.max()) <= 1.0 and len(batch["task"]) == len(state)
        self.sizes.append(len(state))
        step = torch.tensor([1.0, 0.0], dtype=torch.bfloat16)
        return step.expand(len(state), 5, 2)


def preprocess(batch):
    # As LeRobot's pipeline: a lone observation gets its leading dimension.
    if batch["observation.state"].ndim > 1:
        return batch
    tensors = {k: v[None] for k, v in batch.items() if torch.is_tensor(v)}
    return {**tensors, "task": [batch["task"]]}


async def main():
    for slots in (1, 3):
        policy = Policy()
        model = LeRobotModel(policy, preprocess, lambda chunk: chunk * 0.5)
        adapter = LeRobotAdapter(model_image_keys=["observation.images.top"], chunk_size=2)
        agent = RobotAgent(model=model, adapter=adapter)
        if slots > 1:
            agent = BatchedAgent(agent, batch_size=slots, max_wait_s=3600.0)
        tasks = seeded(points(num_envs=slots), range(slots))
        runs = (await Taskset(tasks).run(agent, max_concurrent=slots)).runs
        assert [run.reward for run in runs] == [1.0] * slots, [run.trace.error for run in runs]
        assert [run.grade.info["place"][0] for run in runs] == [seed + 3.0 for seed in range(slots)]
        print(policy.sizes)

asyncio.run(main())
"""


async def test_a_lerobot_policy_drives_one_rollout_and_many(
    torch_python: Path, tmp_path: Path
) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [str(torch_python), "-c", TORCH],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, "HUD_HOME": str(tmp_path / "torch")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[1, 1, 1]", "[3, 3, 3]"]
