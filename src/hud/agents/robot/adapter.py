"""Translate between what a robot shows and takes, and what its policy sees and says.

Scaling by the contract's figures is `scaling`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hud._core.errors import AgentFault, InputError, bounded
from hud.protocol.openpi import load_numpy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    ActionArray = NDArray[np.floating[Any]]

CAMERA_TYPES = ("rgb", "bgr", "rgba", "gray", "depth")


def is_camera(feature: dict[str, Any]) -> bool:
    """Tell whether a feature of a contract is an image."""
    return feature.get("type") in CAMERA_TYPES or feature.get("dtype") in ("image", "video")


def load_torch(who: str) -> Any:
    """Import and return torch.

    Raises:
        InputError: when it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise InputError(f"{who} needs torch", hint="pip install torch") from error


class Adapter:
    """The seam between one robot and one policy.

    Each episode works on a shallow copy: `bind`, then `reset`, then `adapt_observation` and
    `adapt_chunk` at every inference and `adapt_action` at every action. What it keeps for an
    episode belongs into `reset`.

    Attributes:
        model_image_keys: The policy's names for its images, in order.
        chunk_size: Actions to carry out of each chunk; None is all of them.
        action_space: The contract's action feature, from `bind`.
        image_keys: The robot's cameras, in the contract's order, from `bind`.
        state_key: The first observation that is no camera, from `bind`.
    """

    def __init__(
        self, *, model_image_keys: list[str] | None = None, chunk_size: int | None = None
    ) -> None:
        self.model_image_keys: list[str] = list(model_image_keys or [])
        self.chunk_size = chunk_size
        self.action_space: dict[str, Any] = {}
        self.image_keys: list[str] = []
        self.state_key: str | None = None

    def bind(self, action_space: dict[str, Any], observation_space: dict[str, Any]) -> None:
        """Learn the robot's spaces, as `RobotClient.spaces` returns them."""
        self.action_space = action_space or {}
        self.image_keys = [name for name, row in observation_space.items() if is_camera(row)]
        others = (name for name, row in observation_space.items() if not is_camera(row))
        self.state_key = next(others, None)

    def reset(self) -> None:
        """Begin an episode; for adapters that keep something during one."""

    def adapt_observation(self, obs: dict[str, Any], prompt: str) -> Any:
        """Return the policy's input for one observation, as `get_observation` returns it."""
        raise NotImplementedError(f"{type(self).__name__} must define adapt_observation")

    def adapt_chunk(self, chunk: ActionArray, obs: dict[str, Any]) -> ActionArray:
        """Return a chunk `[T, A]` in the robot's terms `[T, D]`.

        Args:
            obs: The observation it was inferred from, so that what is relative to it can be made
                absolute.
        """
        return chunk

    def adapt_action(self, action: ActionArray, obs: dict[str, Any]) -> ActionArray:
        """Return an action `[D]` as it is sent.

        Args:
            obs: The newest observation; in real time the one the chunk was inferred from.
        """
        return action


class LeRobotAdapter(Adapter):
    """For LeRobot policies on a robot with one state and any number of cameras.

    Cameras go to the policy's images in order, as float tensors `[C, H, W]` in 0..1; the state is
    `observation.state [S]`, the prompt `task`. Observations of several rollouts (`[N, S]`) are
    translated as they are. The chunk is taken as it comes: the postprocessor has scaled it.
    """

    def adapt_observation(self, obs: dict[str, Any], prompt: str) -> dict[str, Any]:
        torch = load_torch("LeRobotAdapter")
        numpy = load_numpy()
        data: dict[str, Any] = obs["data"]
        batch: dict[str, Any] = {}
        rollouts: int | None = None
        if self.state_key is not None:
            state = numpy.array(data[self.state_key], numpy.float32)
            rollouts = len(state) if state.ndim > 1 else None
            batch["observation.state"] = torch.from_numpy(state)
        for model_key, key in zip(self.model_image_keys, self.image_keys, strict=False):
            image = torch.from_numpy(numpy.array(data[key]))
            if image.ndim not in (3, 4):
                raise AgentFault(f"camera {key!r} is no image but {bounded(list(image.shape))}")
            if image.ndim == 4 and rollouts is None:
                rollouts = len(image)
            batch[model_key] = image.movedim(-1, -3).float() / 255.0
        batch["task"] = prompt if rollouts is None else [prompt] * rollouts
        return batch


class OpenPIAdapter(Adapter):
    """For policies that take a robot's observations by their own names, with a `prompt` beside."""

    def adapt_observation(self, obs: dict[str, Any], prompt: str) -> dict[str, Any]:
        return {"prompt": prompt, **obs["data"]}
