"""A robot's agent before it drives: what it needs, how it is set up, what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

import hud.agents.robot
from hud._core.errors import InputError
from hud.agents.base import model_of
from hud.agents.create import make_agent
from hud.agents.robot import (
    Adapter,
    BatchedAgent,
    LeRobotModel,
    Model,
    RobotAgent,
    RobotConfig,
    ScaledAdapter,
)


class Still(Model):
    def infer(self, batch: Any) -> Any:
        return [[[0.0, 0.0]]]


class StillAgent(RobotAgent):
    def __init__(self) -> None:  # as one that was written for the published client may look
        self.model = Still()
        self.adapter = Adapter()


def test_every_public_name_is_there() -> None:
    assert all(getattr(hud.agents.robot, name) for name in hud.agents.robot.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Robot'"):
        _ = hud.agents.robot.Robot


def test_naming_everything_imports_nothing_heavy() -> None:
    program = (
        "import sys, hud.agents.robot as robot\n"
        "assert 'hud.agents.robot.agent' not in sys.modules\n"
        "assert all(getattr(robot, name) for name in robot.__all__)\n"
        "robot.RobotAgent(model=robot.RemoteModel(), adapter=robot.LeRobotAdapter())\n"
        "heavy = {'numpy', 'torch', 'lerobot', 'websockets', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_agent_without_a_policy_is_not_ready() -> None:
    with pytest.raises(InputError, match="RobotAgent has no policy"):
        RobotAgent().check_ready()
    with pytest.raises(ValueError, match="the agent has no model"):
        BatchedAgent(RobotAgent())


def test_model_and_adapter_come_from_the_call_or_from_a_subclass() -> None:
    given = RobotAgent(RobotConfig(max_steps=7), model=Still(), adapter=Adapter())
    assert isinstance(given.model, Still) and isinstance(given.adapter, Adapter)
    own = StillAgent()
    own.check_ready()
    assert own.describe() == {
        "agent": "StillAgent",
        "policy": {"model": "Still", "adapter": "Adapter"},
    }
    batched = BatchedAgent(own)
    assert (batched.name, batched.describe()) == ("StillAgent", own.describe())
    assert isinstance(own.model, Still), "the agent given is left as it is"


def test_the_policys_name_is_what_the_settings_say() -> None:
    assert model_of(RobotAgent(model=Still())) is None
    named = RobotAgent(RobotConfig(model="pi0-cups"), model=Still())
    assert model_of(named) == model_of(BatchedAgent(named)) == "pi0-cups"


def test_the_command_line_makes_it_by_its_name() -> None:
    assert isinstance(make_agent(f"{__file__}:StillAgent", config={"max_steps": 10}), RobotAgent)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_steps": -2},
        {"replan_after": 0},
        {"stills_every": -1},
        {"ensemble": float("nan")},
        {"ensemble": 0.1, "realtime": True},
        {"colour": "red"},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RobotConfig(**settings)


def test_a_policy_that_predicts_no_chunks_is_refused() -> None:
    with pytest.raises(InputError, match="object has no predict_action_chunk"):
        LeRobotModel(object(), None, None)


def test_a_scaling_adapter_keeps_what_the_other_says_of_chunks_and_images() -> None:
    adapter = ScaledAdapter(Adapter(model_image_keys=["top"], chunk_size=5))
    assert (adapter.chunk_size, adapter.model_image_keys) == (5, ["top"])
