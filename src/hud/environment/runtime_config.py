"""What a task asks of the place it runs in: image, resources, limits.

Plain data that travels with task rows; honouring it is each runtime's business.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hud.environment.compose import ComposeProject

_Text = Annotated[str, Field(min_length=1)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RuntimeGPU(_Row):
    """GPUs asked for; `type` is one model name or several acceptable ones."""

    type: _Text | list[str] | None = None
    count: int = Field(default=1, ge=1)

    @property
    def acceptable_types(self) -> list[str]:
        if self.type is None:
            return []
        return [self.type] if isinstance(self.type, str) else list(self.type)


class RuntimeTPU(_Row):
    """A TPU slice, its topology as `AxB` or `AxBxC`."""

    type: _Text
    topology: str = Field(pattern=r"^[1-9]\d*(?:x[1-9]\d*)+$")


class RuntimeResources(_Row):
    """Machine a task asks for; `os` is a family such as `linux`."""

    cpu: float | None = Field(default=None, gt=0)
    memory_mb: int | None = Field(default=None, gt=0)
    storage_mb: int | None = Field(default=None, gt=0)
    gpu: RuntimeGPU | None = None
    os: _Text | None = None
    tpu: RuntimeTPU | None = None


class RuntimeLimits(_Row):
    """Seconds that placing and running may take."""

    startup_timeout_s: int | None = Field(default=None, gt=0)
    run_timeout_s: int | None = Field(default=None, gt=0)


class RuntimeConfig(_Row):
    """One task's asks. Only fields that were set count; the rest is the runtime's default.

    `image` and `compose` exclude each other.
    """

    image: _Text | None = None
    compose: ComposeProject | None = None
    resources: RuntimeResources | None = None
    limits: RuntimeLimits | None = None

    @model_validator(mode="after")
    def _one_place(self) -> RuntimeConfig:
        if self.image is not None and self.compose is not None:
            raise ValueError("either image or compose, not both")
        return self

    def with_overrides(self, override: RuntimeConfig | None) -> RuntimeConfig:
        """Return this configuration with every field that `override` set taking its place.

        An image takes the place of a Compose project, and the other way round.
        """
        if override is None:
            return self
        mine = self.model_dump(exclude_unset=True, exclude={"compose"})
        merged = _merge(mine, override.model_dump(exclude_unset=True, exclude={"compose"}))
        project = override.compose if "compose" in override.model_fields_set else self.compose
        if override.image is not None:
            project = None
        elif override.compose is not None:
            merged.pop("image", None)
        if project is not None:
            merged["compose"] = project
        return RuntimeConfig.model_validate(merged)

    def to_row(self, base: Path | None = None) -> dict[str, Any]:
        """Return what rows hold; `base` as `ComposeProject.to_row` takes it."""
        row = self.model_dump(exclude_unset=True, exclude={"compose"})
        if self.compose is not None:
            row["compose"] = self.compose.to_row(base)
        return row


def _merge(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in over.items():
        held = merged.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            merged[key] = _merge(held, value)  # pyright: ignore[reportUnknownArgumentType]
        else:
            merged[key] = value
    return merged
