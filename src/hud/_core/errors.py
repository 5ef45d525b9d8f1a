"""The one exception tree of the project.

A fault names the boundary that broke (and so the outcome of the rollout it ended); the other
errors are about input, the store or the wire. Mapping foreign exceptions onto these happens where
they are caught, not here.
"""

from __future__ import annotations

from typing import ClassVar

from hud._core.outcome import Outcome

_MESSAGE_LIMIT = 2_000


def bounded(value: object, limit: int = 120) -> str:
    """Return `value` as text of at most `limit` characters, for quoting in a message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class HudError(Exception):
    """Root of every error this package raises on purpose.

    Attributes:
        code: Stable machine-readable name of the kind of error.
        message: One sentence with the offending value.
        hint: What the reader can do about it, or None.
        exit_code: What a command line that fails with it exits with.
    """

    code: ClassVar[str] = "error"
    exit_code: int = 1

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        self.message = bounded(message, _MESSAGE_LIMIT)
        self.hint = hint
        super().__init__(self.message)


class InputError(HudError):
    """Something the user gave (a file, a flag, a row, a setting) cannot be used."""

    code = "bad_input"
    exit_code = 2


class NotFound(InputError):
    """What the user named is not there."""

    code = "not_found"


class StoreError(HudError):
    """The store cannot be opened, read or written."""

    code = "store"


class Fault(HudError):
    """A failure that ends a rollout ungraded; `outcome` names the boundary that broke.

    Attributes:
        may_pass: False where trying the same again would fail the same way.
    """

    outcome: ClassVar[Outcome]
    may_pass: bool = True


class EnvironmentFault(Fault):
    """The environment's own code or declaration failed."""

    code = "environment"
    outcome = Outcome.ENVIRONMENT


class CapabilityFault(Fault):
    """A capability's daemon or connection failed."""

    code = "capability"
    outcome = Outcome.CAPABILITY


class AgentFault(Fault):
    """The harness itself failed (its own bug, not the model's choice)."""

    code = "agent"
    outcome = Outcome.AGENT


class ModelFault(Fault):
    """The model API failed: unreachable, refused the key, overloaded, or answered nonsense."""

    code = "model"
    outcome = Outcome.MODEL


class RuntimeFault(Fault):
    """The place a rollout ran in could not be made, or vanished."""

    code = "runtime"
    outcome = Outcome.RUNTIME


class GraderFault(Fault):
    """Grading raised instead of giving a grade."""

    code = "grader"
    outcome = Outcome.GRADER


class RolloutTimeout(Fault):
    """The whole rollout's time limit passed."""

    code = "timeout"
    outcome = Outcome.TIMEOUT


class RolloutCancelled(Fault):
    """A person or a job's budget cancelled the rollout."""

    code = "cancelled"
    outcome = Outcome.CANCELLED
