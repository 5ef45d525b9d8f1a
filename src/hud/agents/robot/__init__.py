"""Robot policies as agents: the loop, the policy behind it, and the spaces in between.

`RobotAgent` drives a `robot` capability, a `Model` runs the policy, an `Adapter` translates
between the robot's spaces and the policy's. Everything is imported on first use; numpy, torch and
lerobot only by what needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hud.agents.robot.adapter import Adapter, LeRobotAdapter, OpenPIAdapter
    from hud.agents.robot.agent import ROBOT_PROTOCOL, RobotAgent
    from hud.agents.robot.batched import BatchedAgent
    from hud.agents.robot.batching import BatchedModel
    from hud.agents.robot.config import RobotConfig
    from hud.agents.robot.dataset import DatasetWriter
    from hud.agents.robot.model import LeRobotModel, Model
    from hud.agents.robot.remote import RemoteModel
    from hud.agents.robot.scaling import ScaledAdapter

_HOMES = {
    "ROBOT_PROTOCOL": "agent",
    "Adapter": "adapter",
    "BatchedAgent": "batched",
    "BatchedModel": "batching",
    "DatasetWriter": "dataset",
    "LeRobotAdapter": "adapter",
    "LeRobotModel": "model",
    "Model": "model",
    "OpenPIAdapter": "adapter",
    "RemoteModel": "remote",
    "RobotAgent": "agent",
    "RobotConfig": "config",
    "ScaledAdapter": "scaling",
}

__all__ = [
    "ROBOT_PROTOCOL",
    "Adapter",
    "BatchedAgent",
    "BatchedModel",
    "DatasetWriter",
    "LeRobotAdapter",
    "LeRobotModel",
    "Model",
    "OpenPIAdapter",
    "RemoteModel",
    "RobotAgent",
    "RobotConfig",
    "ScaledAdapter",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
