"""Settings of an agent that drives a robot."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from hud.agents.types import AgentConfig

MAX_STEPS = 520


class RobotConfig(AgentConfig):
    """What a robot's harness understands.

    Attributes:
        max_steps: Control ticks of one episode; -1 is no limit.
        model: The policy's name, for jobs and tables.
        replan_after: Actions carried out of each chunk before the next inference (the receding
            horizon). None: the adapter's `chunk_size`, else the whole chunk, and with `ensemble`
            one. In real time None infers again as late as the measured delay allows.
        ensemble: Average the predictions that overlapping chunks make for a tick, weighted
            `exp(-ensemble * i)` with i = 0 for the oldest (ACT, arXiv:2304.13705): 0 is the plain
            mean, a larger number holds on to older predictions, a negative one to newer.
        realtime: Whether to infer while the robot goes on moving. None: if the robot does so.
        video: Whether its cameras are recorded as H.264 segments (needs `av`).
        stills_every: Keep the images of every so manyth observation as PNG; 0 keeps none.
    """

    max_steps: int = Field(default=MAX_STEPS, ge=-1)
    model_name: str = "Robot"
    replan_after: int | None = Field(default=None, ge=1)
    ensemble: float | None = Field(default=None, allow_inf_nan=False)
    realtime: bool | None = None
    video: bool = False
    stills_every: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.realtime and self.ensemble is not None:
            raise ValueError("ensemble needs realtime=False: the robot itself carries out chunks")
        return self
