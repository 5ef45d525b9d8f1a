"""What a platform answers, as data; what it says beyond that is ignored.

Fields that every platform must send are required, all others have a default.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

T = TypeVar("T")


class Reply(BaseModel):
    """A reply, read tolerantly."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Page(Reply, Generic[T]):
    """Some of a listing. `total` is how many there are in all; None where it was not said."""

    items: list[T]
    total: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_list(cls, data: Any) -> Any:
        return {"items": cast("list[Any]", data)} if isinstance(data, list) else data


class Heard(Reply):
    """The answer to a report: it was heard, and may ask for something in turn.

    Attributes:
        cancel: Runs that are to be cancelled.
        cancel_job: Whether the whole job is.
    """

    cancel: list[str] = Field(default_factory=list[str])
    cancel_job: bool = False


class Me(Reply):
    """Whose key it is."""

    user_id: str
    team_id: str
    name: str | None = None
    team: str | None = None


class JobCountsOnPlatform(Reply):
    """What became of a job's runs, where a platform counts them."""

    runs: int
    graded: int
    running: int = 0
    ungraded: dict[str, int] = Field(default_factory=dict[str, int])
    mean_reward: float | None = None


class JobOnPlatform(Reply):
    """A job of a listing. `status` is in the platform's words."""

    id: str
    name: str | None = None
    taskset_name: str | None = None
    status: str | None = None
    created_at: str | None = None
    agent: str | None = None
    model: str | None = None
    counts: JobCountsOnPlatform | None = None


class RunOnPlatform(Reply):
    """A run of a listing, or by itself.

    `reward` counts only for a run that is graded, which a platform that says `outcome` tells.
    """

    id: str
    status: str | None = None
    outcome: str | None = None
    reward: float | None = None
    error: str | None = None
    stop_reason: str | None = None
    task_slug: str | None = None
    model: str | None = None
    start_time: str | None = None
    created_at: str | None = None
    job_id: str | None = None
    evaluation_result: dict[str, Any] | None = None

    @property
    def began(self) -> str | None:
        """When it began, as the platform spells it."""
        return self.start_time or self.created_at


class RunState(Reply):
    """What has become of a run."""

    status: str
    outcome: str | None = None
    reward: float | None = None
    error: str | None = None
    job_id: str | None = None
    task_slug: str | None = None
    model: str | None = None
    evaluation_result: dict[str, Any] | None = None
    stop_reason: str | None = None
    member: int | None = None
    attempt: int | None = None
    start_time: str | None = None
    end_time: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    llm_calls: int = 0
    turns: int = 0
    unpriced_turns: int = 0
    known_cost_usd: float | None = None


class Submitted(Reply):
    """A rollout is in the platform's hands."""

    trace_id: str | None = None
    status: str | None = None


class Lease(Reply):
    """A lent environment. `status` is `starting`, `ready` or `ended`, where a platform says it."""

    id: str = ""
    status: str | None = None
    reason: str | None = None


class Events(Reply):
    """What happened in a run, one object each, in order; `kind` or `type` says what.

    `next_after` is where the rest of a long run begins; None when this is all.
    """

    events: list[dict[str, Any]]
    next_after: int | None = None


class TasksetRef(Reply):
    """A taskset by name."""

    taskset_id: str
    name: str


class TasksetInfo(Reply):
    """A taskset by id."""

    id: str
    name: str
    project_id: str | None = None
    can_edit: bool = True


class TasksetExport(Reply):
    """All tasks of a taskset, each as it was uploaded."""

    name: str
    tasks: list[dict[str, Any]]


class Uploaded(Reply):
    """What an upload of tasks changed."""

    taskset_id: str
    tasks_created: int
    tasks_updated: int


class Project(Reply):
    """A project: what tasksets and environments belong to."""

    id: str
    name: str
    description: str | None = None
    is_default: bool = False


class RegistryEntry(Reply):
    """An environment that is known there."""

    id: str
    name: str | None = None
    latest_build: dict[str, Any] | None = None


class BuildUpload(Reply):
    """Where the context of a build goes; the address lets it in by itself."""

    upload_url: str = Field(repr=False)
    build_id: str


class BuildTriggered(Reply):
    """A build that waits for its turn; `registry_id` is its environment."""

    id: str
    registry_id: str


class BuildState(Reply):
    """What has become of a build."""

    status: str
    version: int | None = None
    duration_seconds: float | None = None
    image_name: str | None = None
    uri: str | None = None
    registry_name: str | None = None
    error_message: str | None = None
    manifest: dict[str, Any] | None = None
    lock: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        """Whether it stays what it is."""
        return self.status not in ("UPLOADING", "IN_PROGRESS", "MIGRATING", "CANCELLING")


class BuildRow(Reply):
    """A build of a listing."""

    id: str
    version: int | None = None
    status: str
    actor: str | None = None
    uri: str | None = None
    error_message: str | None = None
    created_at: str | None = None
    duration_seconds: float | None = None


class RolledBack(Reply):
    """Which version is run now, and which was before."""

    version: int
    before: int | None = None
    name: str | None = None


class ModelOnPlatform(Reply):
    """A model that is served there."""

    id: str
    model_name: str
    name: str | None = None
    sdk_agent_type: str | None = None
    is_trainable: bool = False
    provider: dict[str, Any] | None = None


class RunCancelled(Reply):
    """Whether a cancellation of a run was taken; `accepted`, or anything else for a no-op."""

    status: str | None = None


class JobCancelled(Reply):
    """How many runs of a job are cancelled."""

    cancelled: int = 0
    total_found: int | None = None


class AllCancelled(Reply):
    """How much is cancelled when everything is."""

    jobs_cancelled: int = 0
    total_tasks_cancelled: int = 0
    job_details: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])


class DeviceCode(Reply):
    """A sign-in that waits for a person. Times are seconds."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None = None
    expires_in: int
    interval: int = 5

    @property
    def link(self) -> str:
        """Where the person confirms it."""
        return self.verification_uri_complete or f"{self.verification_uri}?code={self.user_code}"


class _Named(Reply):
    name: str | None = None
    email: str | None = None


class SignedIn(Reply):
    """A key for whoever signed in."""

    api_key: str = Field(min_length=1, repr=False)
    user: _Named | None = None
    team: _Named | None = None


class UsageSum(Reply):
    """What the model calls of a group took.

    Attributes:
        group: Value by name of what it is grouped by; empty for everything together.
        unpriced_calls: Calls whose price is not known; they are not in `cost_usd`.
    """

    group: dict[str, str | int | None] = Field(default_factory=dict[str, str | int | None])
    calls: int = 0
    failed_calls: int = 0
    cached_calls: int = 0
    unpriced_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0


class Usage(Reply):
    """What model calls took: by group, and everything together."""

    items: list[UsageSum] = Field(default_factory=list[UsageSum])
    total: UsageSum


class BudgetRef(Reply):
    """Which budget; `subject` is empty for the team's own."""

    scope: str
    subject: str = ""


class Budget(BudgetRef):
    """A limit and what was spent of it."""

    max_cost_usd: float | None = None
    max_tokens: int | None = None
    spent_cost_usd: float = 0.0
    spent_tokens: int = 0
    created_at: str | None = None
