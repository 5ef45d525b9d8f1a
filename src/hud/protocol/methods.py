"""The methods of a control session: their parameters and results, typed.

Results are built by servers and read by clients with these same types. Unknown keys are ignored
on reading, so either side may be newer.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hud.protocol.capability import Capability


class HelloParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """Begin a session, or resume the parked one of that id."""

    session_id: str | None = None


class EnvInfo(msgspec.Struct, frozen=True):
    """Name and version of the environment."""

    name: str
    version: str = ""


class HelloResult(msgspec.Struct, frozen=True):
    """`bindings` are the capability rows as the environment declares them."""

    session_id: str
    env: EnvInfo
    bindings: list[Capability] = msgspec.field(default_factory=list[Capability])
    protocol_version: str = ""


class ListParams(msgspec.Struct, frozen=True):
    """Nothing is asked for."""


class TaskEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One template in the manifest; `args`, `input` and `returns` are JSON schemas."""

    id: str
    description: str = ""
    args: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    input: Any = None
    returns: Any = None


class ListResult(msgspec.Struct, frozen=True):
    """The templates, in the order they were declared."""

    tasks: list[TaskEntry]


class StartParams(msgspec.Struct, frozen=True):
    """Which template, with which arguments."""

    id: str
    args: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class GradeParams(msgspec.Struct, frozen=True):
    """The agent's answer, of any JSON type."""

    answer: Any = None


class CancelParams(msgspec.Struct, frozen=True):
    """Nothing is asked for."""


class CancelResult(msgspec.Struct, frozen=True):
    """Sent once the task has ended."""

    cancelled: bool = True


class ByeParams(msgspec.Struct, frozen=True):
    """Nothing is asked for."""


class ByeResult(msgspec.Struct, frozen=True):
    """Sent before the server closes the connection."""

    goodbye: bool = True


class TunnelParams(msgspec.Struct, frozen=True):
    """Which capability this connection is to carry."""

    capability: str


class TunnelResult(msgspec.Struct, frozen=True):
    """From here on the connection carries raw bytes."""

    capability: str


class PromptFrame(msgspec.Struct, frozen=True, omit_defaults=True):
    """Result of `tasks.start`: text, or messages of the MCP `PromptMessage` shape.

    `bindings` maps a capability's name to data valid for this episode only.
    """

    prompt: Any
    bindings: dict[str, dict[str, Any]] | None = None


class Subscore(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part of a grade; `children` are what it was made of."""

    name: str
    value: float
    weight: float = 1.0
    children: list[Subscore] | None = None
    info: dict[str, Any] | None = None


class GradeFrame(msgspec.Struct, frozen=True, omit_defaults=True):
    """Result of `tasks.grade`; `score` is finite."""

    score: float
    done: bool = True
    content: str | None = None
    info: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    isError: bool = False
    subscores: list[Subscore] | None = None


TUNNEL_OPEN = "tunnel.open"
HELLO = "hello"
TASKS_LIST = "tasks.list"
TASKS_START = "tasks.start"
TASKS_GRADE = "tasks.grade"
TASKS_CANCEL = "tasks.cancel"
BYE = "bye"

Params = (
    HelloParams | ListParams | StartParams | GradeParams | CancelParams | ByeParams | TunnelParams
)

PARAMS: dict[str, type[Params]] = {
    TUNNEL_OPEN: TunnelParams,
    HELLO: HelloParams,
    TASKS_LIST: ListParams,
    TASKS_START: StartParams,
    TASKS_GRADE: GradeParams,
    TASKS_CANCEL: CancelParams,
    BYE: ByeParams,
}

RESULTS: dict[str, type[msgspec.Struct]] = {
    TUNNEL_OPEN: TunnelResult,
    HELLO: HelloResult,
    TASKS_LIST: ListResult,
    TASKS_START: PromptFrame,
    TASKS_GRADE: GradeFrame,
    TASKS_CANCEL: CancelResult,
    BYE: ByeResult,
}
