"""A task: one template of one environment with its arguments, as a row of data.

Running is not here: `.run` hands over to `hud.eval`, the one reach upward this layer makes,
because a task minted from a template is expected to be runnable as it is.
"""

from __future__ import annotations

import hashlib
import json as stdlib_json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from hud._core import json
from hud.environment.runtime_config import RuntimeConfig

if TYPE_CHECKING:
    from hud.environment.environment import Environment
    from hud.eval import Agent, AgentFunction, Budget, HostedRuntime, Job, Provider


_sorted = stdlib_json.JSONEncoder(sort_keys=True)


def default_slug(task_id: str, args: dict[str, Any]) -> str:
    """Return the template id, and for a task with arguments eight hex digits of their SHA-1."""
    if not args:
        return task_id
    text = _sorted.encode(json.to_plain(args))
    digest = hashlib.sha1(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    return f"{task_id}-{digest[:8]}"


class Task(BaseModel):
    """One row of a taskset.

    `env` names the environment and `id` the template in it. `slug` is unique within a taskset.
    `verifier` is a task of another environment that grades what this one produced.
    """

    model_config = ConfigDict(validate_assignment=True)

    env: Annotated[str, Field(min_length=1)]
    id: Annotated[str, Field(min_length=1)]
    args: dict[str, Any] = Field(default_factory=dict[str, Any])
    slug: Annotated[str, Field(min_length=1)] = ""
    validation: list[dict[str, Any]] | None = None
    agent_config: dict[str, Any] | None = None
    columns: dict[str, Any] | None = None
    runtime_config: RuntimeConfig | None = None
    verifier: Task | None = None

    _environment: Environment | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _fill_slug(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        row = cast("dict[str, Any]", data)
        task_id, args = row.get("id"), row.get("args")
        if not row.get("slug") and isinstance(task_id, str) and isinstance(args, dict | None):
            return {**row, "slug": default_slug(task_id, cast("dict[str, Any]", args or {}))}
        return row

    @model_validator(mode="after")
    def _one_verifier_deep(self) -> Task:
        if self.verifier is not None and self.verifier.verifier is not None:
            raise ValueError(f"task {self.slug!r}: a verifier cannot have a verifier of its own")
        return self

    @property
    def environment(self) -> Environment | None:
        """The live environment this task was minted from, or None for a task that is only data."""
        return self._environment

    def bound_to(self, environment: Environment | None) -> Task:
        """Tie the row to a live environment and return it."""
        self._environment = environment
        return self

    def to_row(self, base: Path | None = None) -> dict[str, Any]:
        """Return the compact row that files and uploads hold: set fields only, JSON types.

        Args:
            base: The folder that paths of a Compose project are relative to; without it the
                project's document is in the row.

        Raises:
            InputError: when that document has to be read and cannot be.
        """
        row = self.model_dump(mode="python", exclude_none=True)
        if self.slug == default_slug(self.id, self.args):
            row.pop("slug", None)
        if not self.args:
            row.pop("args", None)
        if self.runtime_config is not None:
            row["runtime_config"] = self.runtime_config.to_row(base)
        if self.verifier is not None:
            row["verifier"] = self.verifier.to_row(base)
        return json.to_plain(row)

    def digest(self) -> str:
        """Return 16 hex digits that change when anything that decides the task changes."""
        row = {**self.to_row(), "slug": self.slug, "columns": None}
        text = stdlib_json.dumps(row, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]

    async def run(
        self,
        agent: Agent | AgentFunction,
        *,
        runtime: Provider | HostedRuntime | None = None,
        group: int | None = None,
        max_concurrent: int | None = None,
        job: Job | None = None,
        rollout_timeout: float | None = None,
        budget: Budget | None = None,
    ) -> Job:
        """Run this task `group` times; see `Taskset.run`."""
        from hud.eval.taskset import Taskset

        return await Taskset(self.slug, [self]).run(
            agent,
            runtime=runtime,
            group=group,
            max_concurrent=max_concurrent,
            job=job,
            rollout_timeout=rollout_timeout,
            budget=budget,
        )
