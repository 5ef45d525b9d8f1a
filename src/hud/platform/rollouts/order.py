"""What is to be run, as data that a queue keeps and another process can carry out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hud.environment.compose import FOREIGN
from hud.environment.task import Task

_SLUG = Field(default="", max_length=500)


class AgentAsk(BaseModel):
    """Who is to work on it: a kind of agent and its settings."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str = Field(min_length=1, max_length=100)
    config: dict[str, Any] = Field(default_factory=dict[str, Any])


class RolloutAsk(BaseModel):
    """A rollout as it is asked for, but for its ids.

    Attributes:
        env: Name of a deployed environment.
        task: Id of a template of it.
        agent_config: The row's own settings, laid over the agent's as in any other place.
        verifier: A whole task row, whose environment grades the run once more.
        rollout_timeout: Seconds for all of it.
        retries: Further attempts at an ungraded run whose cause may pass by itself.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    env: str = Field(min_length=1, max_length=200)
    task: str = Field(min_length=1, max_length=500)
    slug: str = _SLUG
    args: dict[str, Any] = Field(default_factory=dict[str, Any])
    agent: AgentAsk
    group_id: str | None = Field(default=None, max_length=200)
    agent_config: dict[str, Any] | None = None
    runtime_config: dict[str, Any] | None = None
    verifier: dict[str, Any] | None = None
    parent_trace_id: str | None = Field(default=None, max_length=200)
    rollout_timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    retries: int = Field(default=2, ge=0, le=10)

    def as_task(self) -> Task:
        """Return the row to run.

        Raises:
            pydantic.ValidationError: when it is none.
        """
        row: dict[str, Any] = {"env": self.env, "id": self.task, "args": self.args}
        if self.slug:
            row["slug"] = self.slug
        for name in ("agent_config", "runtime_config", "verifier"):
            value = getattr(self, name)
            if value is not None:
                row[name] = value
        return Task.model_validate(row, context={FOREIGN: True})


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt that a worker has taken.

    Attributes:
        run_id: The run's id, the same for every attempt.
        user_id: On whose behalf, with which key: models are paid by them.
        lease: Held by the worker for as long as it is heard of.
    """

    team: str
    run_id: str
    job_id: str
    user_id: str
    key_id: str | None
    attempt: int
    member: int
    lease: str
    ask: RolloutAsk


@dataclass(frozen=True, slots=True)
class ModelGateway:
    """Where an order's models are asked, with a key that is good for nothing else."""

    url: str
    key: str = field(repr=False)
