"""What the worker says, line by line, as it is read here.

The worker writes these by hand, because it cannot import this package.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from hud.models.failure import FailureKind
from hud.trace.steps import StopReason


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CallTokens(_Event):
    """Tokens of one call of the model; None where its API did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class Action(_Event):
    """One action the model chose."""

    name: str
    arguments: dict[str, Any]


class ActionOutcome(_Event):
    """What came of one action; `pictures` are base64."""

    text: str
    error: str | None = None
    pictures: list[str] = Field(default_factory=list[str])


class Started(_Event):
    """Browser-use is there, in this version."""

    type: Literal["started"]
    version: str


class Turned(_Event):
    """The model has answered: what it saw (`screenshot` is base64 PNG), thinks, and will do."""

    type: Literal["turn"]
    number: int
    url: str
    title: str
    screenshot: str | None
    thinking: str | None
    evaluation: str | None
    memory: str | None
    goal: str | None
    actions: list[Action]
    started_at: str | None
    ended_at: str | None
    usage: list[CallTokens]


class Acted(_Event):
    """The actions of a turn are carried out; one for which there is no result was not."""

    type: Literal["acted"]
    number: int
    results: list[ActionOutcome]
    usage: list[CallTokens]


class Stumbled(_Event):
    """A step came to no action."""

    type: Literal["stumbled"]
    error: str
    usage: list[CallTokens]


class Ended(_Event):
    """The task has come to its end."""

    type: Literal["ended"]
    answer: str | None
    success: bool | None
    stop: StopReason
    usage: list[CallTokens]


class Broken(_Event):
    """The work cannot go on; the fields after `detail` are those of a failed call of the model."""

    type: Literal["broken"]
    boundary: Literal["model", "capability", "agent"]
    detail: str
    kind: FailureKind = "other"
    status: int | None = None
    code: str | None = None
    body: Any = None
    usage: list[CallTokens]


Event = Started | Turned | Acted | Stumbled | Ended | Broken

_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def read_event(line: bytes) -> Event:
    """Read one line.

    Raises:
        ValueError: when it is no event.
    """
    return _EVENTS.validate_json(line)
