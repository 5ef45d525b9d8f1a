"""Configuration rows of agents, and re-exports of the steps agents record."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from hud.trace.robot_steps import (
    InferenceStep,
    ObservationStep,
    StateFeature,
    VideoSegmentStep,
)
from hud.trace.steps import AgentStep, Citation, Sample, SubagentStep, ToolStep, Usage

__all__ = [
    "AgentConfig",
    "AgentStep",
    "AgentType",
    "Citation",
    "InferenceStep",
    "ObservationStep",
    "OpenAIChatConfig",
    "Sample",
    "StateFeature",
    "SubagentStep",
    "ToolStep",
    "Usage",
    "VideoSegmentStep",
]


UNKNOWN_MODEL = "unknown"


class AgentType(StrEnum):
    """Agents that drive a model, by the name the command line knows."""

    OPENAI_COMPATIBLE = "openai_compatible"


class AgentConfig(BaseModel):
    """What every harness understands. Times are seconds."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    max_steps: int = 10
    timeout_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    system_prompt: str | None = None
    stop_on: set[Literal["length", "malformed_tool_call"]] = Field(
        default_factory=set[Literal["length", "malformed_tool_call"]]
    )
    model_name: str = "Agent"
    model: str = Field(
        default=UNKNOWN_MODEL, validation_alias=AliasChoices("model", "checkpoint_name")
    )


class OpenAIChatConfig(AgentConfig):
    """Chat Completions on any endpoint.

    `api_key` and `base_url` fall back to OPENAI_API_KEY and OPENAI_BASE_URL. `completion_kwargs`
    are passed on with every request.
    """

    model_name: str = "OpenAI Chat"
    model: str = Field(
        default="gpt-5.4-mini", validation_alias=AliasChoices("model", "checkpoint_name")
    )
    checkpoint: str | None = None
    api_key: str | None = None
    base_url: str | None = None
    completion_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])
