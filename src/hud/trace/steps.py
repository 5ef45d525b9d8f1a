"""Steps: what happened in a run, one row each, as plain data.

Numbering, timestamps and where steps go belong to the recorder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator

from hud.trace.clock import utc_now
from hud.trace.content import JsonValue, MCPToolCall, MCPToolResult, PromptMessage
from hud.trace.context import current_recorder, recorder_of

T = TypeVar("T")

STEP_SCHEMA = "hud.step.v1"

StepSource = Literal["user", "agent", "tool", "task", "subagent", "system"]
StopReason = Literal[
    "done",
    "max_steps",
    "length",
    "timeout",
    "malformed_tool_call",
    "max_tokens",
    "max_cost",
    "context_overflow",
]
TraceStatus = Literal["completed", "error", "cancelled"]


class TaskCall(BaseModel):
    """The environment's side of a step: a task was set up, or evaluated."""

    phase: Literal["setup", "evaluate"]
    name: str
    arguments: JsonValue = None
    result: JsonValue = None


class Step(BaseModel):
    """One step of a run.

    `step_id` counts from 1 within a trace; `started_at` and `ended_at` are ISO 8601 UTC. All
    three are filled by recording.
    """

    model_config = ConfigDict(extra="forbid")

    schema_tag: ClassVar[str] = STEP_SCHEMA

    step_id: int | None = None
    source: StepSource
    messages: list[PromptMessage] = Field(default_factory=list[PromptMessage])
    task_call: TaskCall | None = None
    error: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    extra: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])

    def emit(self, *, trace_id: str | None = None) -> None:
        """Record this step on a trace: the given one, else the one this code runs under.

        Does nothing outside a trace.
        """
        recorder = recorder_of(trace_id) if trace_id is not None else current_recorder()
        if recorder is not None:
            recorder.record(self)


class Citation(BaseModel):
    """A source an agent named for a span of its answer."""

    model_config = ConfigDict(extra="forbid")

    type: str = "citation"
    text: str = ""
    source: str = ""
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class Sample(BaseModel):
    """Token ids of one model turn.

    Shapes: `prompt_token_ids [P]`, `output_token_ids [T]`, `output_logprobs [T]`.
    """

    prompt_token_ids: list[int] = Field(default_factory=list[int])
    prompt_chunks: list[dict[str, Any]] | None = None
    output_token_ids: list[int] = Field(default_factory=list[int])
    output_logprobs: list[float] = Field(default_factory=list[float])


class Usage(BaseModel):
    """Tokens and money of one model turn; `cost_usd` is None where the price is unknown.

    Attributes:
        prompt_tokens: Of the whole prompt, what came from a cache or went into one included.
        completion_tokens: Of the answer, reasoning included.
        cached_tokens: Of the prompt, read from the provider's cache.
        cache_write_tokens: Of the prompt, written to it, where that has a price of its own.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: float | None = None
    llm_call_count: int | None = None


class AgentStep(Step):
    """One turn of a model."""

    source: StepSource = "agent"
    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[MCPToolCall] = Field(default_factory=list[MCPToolCall])
    done: bool = False
    finish_reason: str | None = None
    stop_reason: str | None = None
    refusal: str | None = None
    citations: list[Citation] = Field(default_factory=list[Citation])
    raw: Any | None = None
    model: str | None = None
    usage: Usage | None = None
    sample: Sample | None = None


class ToolStep(Step):
    """One tool call with its result."""

    source: StepSource = "tool"
    call: MCPToolCall | None = None
    result: MCPToolResult | None = None


class Trace(BaseModel):
    """Everything one run did, in order, and how it ended.

    Attributes:
        content: The agent's answer: what grading receives.
        stop_reason: Why the agent stopped, also when the run was graded.
        extra: Free-form data kept with the run.
    """

    model_config = ConfigDict(extra="forbid")

    steps: list[SerializeAsAny[Step]] = Field(default_factory=list[SerializeAsAny[Step]])
    status: TraceStatus | None = None
    stop_reason: StopReason | None = None
    content: str | None = None
    extra: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    trace_id: str | None = None

    @field_validator("steps", mode="before")
    @classmethod
    def _read_each_as_its_kind(cls, steps: Any) -> Any:
        return [_of_its_kind(step) for step in steps] if isinstance(steps, list) else steps  # pyright: ignore[reportUnknownVariableType]

    def final(self, get: Callable[[Step], T | None]) -> T | None:
        """Return the newest `get(step)` that is not None, or None."""
        for step in reversed(self.steps):
            value = get(step)
            if value is not None:
                return value
        return None

    def collect(self, get: Callable[[Step], T | None]) -> list[T]:
        """Return every `get(step)` that is not None, oldest first."""
        return [value for step in self.steps if (value := get(step)) is not None]

    @property
    def is_error(self) -> bool:
        return self.status == "error"

    @property
    def is_truncated(self) -> bool:
        """Whether a limit, not the agent, ended the run."""
        return self.stop_reason not in (None, "done")

    @property
    def error(self) -> str | None:
        """The newest step's error text."""
        return self.final(lambda step: step.error)

    def record(self, step: Step) -> None:
        """Number and stamp a step, append it, and send it to this trace's sinks."""
        recorder = recorder_of(self.trace_id) if self.trace_id is not None else None
        if recorder is not None and recorder.trace is self:
            recorder.record(step)
            return
        stamp(step, len(self.steps) + 1)
        self.steps.append(step)

    def __len__(self) -> int:
        return len(self.steps)


class SubagentStep(Step):
    """A run within a run, embedded whole."""

    source: StepSource = "subagent"
    subagent: Trace


def usages_of(step: Step) -> Iterator[Usage]:
    """Yield what the model turns of a step used: its own, or those of the run within it."""
    if isinstance(step, AgentStep) and step.usage is not None:
        yield step.usage
    elif isinstance(step, SubagentStep):
        for inner in step.subagent.steps:
            yield from usages_of(inner)


def _of_its_kind(step: Any) -> Any:
    """Read a step that is data as the class its source implies."""
    if not isinstance(step, dict):
        return step
    row = cast("dict[str, Any]", step)
    from hud.trace.robot_steps import ROBOT_STEPS  # which builds on the steps here

    kinds: dict[Any, type[Step]] = {
        "agent": AgentStep,
        "tool": ToolStep,
        "subagent": SubagentStep,
        **ROBOT_STEPS,
    }
    return kinds.get(row.get("source"), Step).model_validate(row)


def stamp(step: Step, number: int) -> None:
    """Fill a step's number and times where they are not set."""
    if step.step_id is None:
        step.step_id = number
    now = utc_now()
    if step.started_at is None:
        step.started_at = now
    step.ended_at = step.ended_at or now
