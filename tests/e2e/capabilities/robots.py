"""Small robots for tests: a point that moves by its action, alone, in numbers, and misbehaving."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hud.environment.robot import GymBridge, RobotBridge

Box: Any = spaces.Box


class Point(gymnasium.Env[Any, Any]):
    """Moves by its action; home is 6 steps away. An action of 9 raises, of 8 ends the process."""

    def __init__(self, home: int = 6, render_mode: str | None = None) -> None:
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
        self.home = home
        self.render_mode = render_mode
        self.place = np.zeros(2)
        self.ticks = 0
        self.observation_space = spaces.Dict(
            {
                "place": Box(-100.0, 100.0, (2,), np.float64),
                "camera": Box(0, 255, (24, 32, 3), np.uint8),
                "nest": spaces.Dict({"kind": spaces.Discrete(3), "bits": spaces.MultiBinary(2)}),
            }
        )
        self.action_space = Box(-10.0, 10.0, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        start = 0.0 if seed is None else float(seed)
        self.place = np.array([start, float((options or {}).get("height", 0.0))])
        self.ticks = 0
        return self._seen(), {}

    def step(self, action: NDArray[Any]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if action[0] == 9:
            raise ValueError("the arm is stuck")
        if action[0] == 8:
            os.write(1, b"the motor burns\n")
            os.kill(os.getpid(), signal.SIGKILL)
        self.place = self.place + action
        self.ticks += 1
        is_home = self.ticks >= self.home
        info = {"is_success": is_home, "ticks": self.ticks, "place": self.place, "log": [object()]}
        return self._seen(), 1.5, is_home, False, info

    def render(self) -> Any:
        return np.full((16, 16, 3), self.ticks, np.uint8)

    def _seen(self) -> dict[str, Any]:
        return {
            "place": self.place.copy(),
            "camera": np.full((24, 32, 3), self.ticks, np.uint8),
            "nest": {"kind": 1, "bits": np.array([1, 0], np.int8)},
        }


def points(num_envs: int = 1, home: int = 6) -> Any:
    """Return a vector environment: its slots share every tick, and each can be reset."""
    return gymnasium.vector.SyncVectorEnv(
        [lambda: Point(home)] * num_envs,
        autoreset_mode=gymnasium.vector.AutoresetMode.DISABLED,
    )


def together(num_envs: int = 1) -> Any:
    """Return a vector environment whose slots can only be reset all at once."""
    return gymnasium.vector.SyncVectorEnv([Point] * num_envs)


def broken() -> Any:
    """Fail to be built, saying why."""
    os.write(1, b"no graphics card found\n")
    raise RuntimeError("cannot open the simulator")


class Threads(gymnasium.Env[Any, Any]):
    """Shows whether it is always on the main thread of its process, and which process that is."""

    def __init__(self) -> None:
        self.observation_space = Box(0.0, 1e9, (3,), np.float64)
        self.action_space = spaces.Discrete(2)
        self.built = threading.current_thread() is threading.main_thread()

    def _seen(self) -> Any:
        here = threading.current_thread() is threading.main_thread()
        return np.array([float(self.built), float(here), os.getpid()])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        return self._seen(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert isinstance(action, int)
        return self._seen(), 0.0, False, False, {}


class Lift(RobotBridge):
    """A bridge by hand: a lift that is home on the third floor."""

    def __init__(self) -> None:
        super().__init__()
        self.contract = {
            "robot_type": "lift",
            "control_rate": 5,
            "features": {
                "floor": {"role": "observation", "dtype": "float32", "shape": [1]},
                "action": {"role": "action", "dtype": "float32", "shape": [1], "names": ["up"]},
            },
        }
        self._level = 0.0

    def reset(self, **kwargs: Any) -> str:
        self._level = float(kwargs.get("floor", 0))
        return "go to the third floor"

    def step(self, action: NDArray[Any]) -> None:
        self._level += float(action[0, 0])
        self.total_reward -= 0.5
        self.success = self.terminated = self._level == 3

    def get_observation(self) -> tuple[dict[str, NDArray[Any]], NDArray[Any]] | None:
        level = np.array([[self._level]], np.float32)
        return {"floor": level}, np.array([self.terminated])


class PointsBridge(GymBridge):
    """A vector of points, for a test to change."""

    def __init__(self, count: int) -> None:
        super().__init__(points, contract=None, num_envs=count)


if __name__ == "__main__":
    from hud.environment.robot import serve_bridge

    sys.stdout.write("warming up\n")
    serve_bridge(Lift())
