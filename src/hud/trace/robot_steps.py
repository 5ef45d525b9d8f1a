"""Steps of a robot's run: what it saw, what its policy inferred, and pieces of its video.

Who records them, and how often, is `robot_recorder`.
"""

from __future__ import annotations

import base64
import io
from typing import Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from hud.trace.content import ImageContent
from hud.trace.steps import Step

ROBOT_STEP_SCHEMA = "hud.robot.step.v1"
MAX_VALUES = 4096
_BESIDE = ("terminated", "reward", "meta")

RobotStepSource = Literal["observation", "inference", "video_segment"]


class StateFeature(BaseModel):
    """The values of one feature at one tick, with a name each where the contract names them."""

    model_config = ConfigDict(extra="forbid")

    names: list[str] = Field(default_factory=list[str])
    values: list[float] = Field(default_factory=list[float])


class ObservationStep(Step):
    """What the robot saw at one tick.

    `extra` may hold `reward` (since the observation before) and `terminated`.
    """

    schema_tag: ClassVar[str] = ROBOT_STEP_SCHEMA

    source: RobotStepSource = "observation"  # pyright: ignore[reportIncompatibleVariableOverride]
    tick: int = 0
    images: dict[str, ImageContent] = Field(default_factory=dict[str, ImageContent])
    state: dict[str, StateFeature] = Field(default_factory=dict[str, StateFeature])

    @classmethod
    def from_obs(
        cls,
        obs: dict[str, Any],
        *,
        tick: int = 0,
        obs_space: dict[str, Any] | None = None,
        images: bool = False,
    ) -> ObservationStep:
        """Build the step of one observation, as `RobotClient.get_observation` returns it.

        Args:
            obs: The observation, or its `data` alone.
            obs_space: The contract's observation features, for the names of the values.
            images: Whether to keep its images, as PNG.
        """
        held: Any = obs.get("data")
        data = cast("dict[str, Any]", held) if isinstance(held, dict) else obs
        state: dict[str, StateFeature] = {}
        stills: dict[str, ImageContent] = {}
        for name, value in data.items():
            if name in _BESIDE and held is None:
                continue
            if is_image(value):
                if images:
                    stills[name] = still(value)
                continue
            values = numbers(value)
            if values is not None:
                state[name] = StateFeature.model_construct(
                    names=_names(obs_space, name), values=values
                )
        extra: dict[str, Any] = {}
        if obs.get("reward") is not None:
            extra["reward"] = float(obs["reward"])
        if obs.get("terminated"):
            extra["terminated"] = True
        return cls.model_construct(tick=tick, state=state, images=stills, messages=[], extra=extra)


class InferenceStep(Step):
    """What the policy decided at one tick: actions `chunk [T, D]`, `names [D]`."""

    schema_tag: ClassVar[str] = ROBOT_STEP_SCHEMA

    source: RobotStepSource = "inference"  # pyright: ignore[reportIncompatibleVariableOverride]
    tick: int = 0
    chunk: list[list[float]] = Field(default_factory=list[list[float]])
    chunk_length: int = 1
    names: list[str] = Field(default_factory=list[str])


class VideoSegmentStep(Step):
    """A few seconds of one camera, playable on their own.

    `segment` holds `mimeType`, `data` (base64), `frames`, `first_tick` and `dropped` (frames that
    the encoder could not keep up with).
    """

    schema_tag: ClassVar[str] = ROBOT_STEP_SCHEMA

    source: RobotStepSource = "video_segment"  # pyright: ignore[reportIncompatibleVariableOverride]
    camera: str = ""
    index: int = 0
    fps: int = 10
    segment: dict[str, Any] = Field(default_factory=dict[str, Any])


ROBOT_STEPS: dict[str, type[Step]] = {
    "observation": ObservationStep,
    "inference": InferenceStep,
    "video_segment": VideoSegmentStep,
}
"""Each kind by its source, for reading recorded steps back."""


def is_image(value: Any) -> bool:
    """Tell whether an array is an image `[H, W, 1 | 3 | 4]` of bytes."""
    shape: Any = getattr(value, "shape", ())
    return len(shape) == 3 and shape[2] in (1, 3, 4) and str(value.dtype) == "uint8"


def numbers(value: Any) -> list[float] | None:
    """Return an array's or a number's values in a row, or None for what is neither, or too many."""
    if isinstance(value, bool | int | float):
        return [float(value)]
    if not hasattr(value, "dtype") or value.dtype.kind not in "biuf" or value.size > MAX_VALUES:
        return None
    return cast("list[float]", value.astype("float64").ravel().tolist())


def still(image: Any) -> ImageContent:
    """Return an image as PNG.

    Raises:
        InputError: when pillow is not installed.
    """
    from hud.trace.robot_video import load

    pillow = load("PIL.Image", "pillow", "a still of a robot's camera")
    data = io.BytesIO()
    pillow.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(data, "PNG")
    return ImageContent(data=base64.b64encode(data.getvalue()).decode(), mimeType="image/png")


def _names(space: dict[str, Any] | None, name: str) -> list[str]:
    feature: Any = (space or {}).get(name)
    names: Any = cast("dict[str, Any]", feature).get("names") if isinstance(feature, dict) else None
    return cast("list[str]", names) if isinstance(names, list) else []
