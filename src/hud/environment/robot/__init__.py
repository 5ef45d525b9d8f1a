"""Robots: simulations served over `openpi/0`, each in a process of its own."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hud.environment.robot.bridge import RobotBridge
    from hud.environment.robot.endpoint import RobotEndpoint, gym_endpoint
    from hud.environment.robot.gym import GymBridge
    from hud.environment.robot.serve import serve_bridge
    from hud.environment.robot.traced import TracedEnv, wrap

_HOMES = {
    "GymBridge": "gym",
    "RobotBridge": "bridge",
    "RobotEndpoint": "endpoint",
    "gym_endpoint": "endpoint",
    "TracedEnv": "traced",
    "serve_bridge": "serve",
    "wrap": "traced",
}

__all__ = [
    "GymBridge",
    "RobotBridge",
    "RobotEndpoint",
    "TracedEnv",
    "gym_endpoint",
    "serve_bridge",
    "wrap",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hud.environment.robot' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"hud.environment.robot.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
