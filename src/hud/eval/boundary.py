"""Which boundary broke: turn whatever a phase of a rollout raised into a fault that says it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from hud._core.errors import (
    AgentFault,
    CapabilityFault,
    EnvironmentFault,
    Fault,
    GraderFault,
    HudError,
    ModelFault,
    RolloutCancelled,
    RolloutTimeout,
    RuntimeFault,
    bounded,
)
from hud._core.outcome import Outcome
from hud.protocol.frames import HudProtocolError

_FAULTS: dict[Outcome, type[Fault]] = {
    kind.outcome: kind
    for kind in (
        AgentFault,
        CapabilityFault,
        EnvironmentFault,
        GraderFault,
        ModelFault,
        RolloutCancelled,
        RolloutTimeout,
        RuntimeFault,
    )
}


@contextlib.contextmanager
def boundary(default: Outcome, phase: str) -> Generator[None]:
    """Raise any exception of the block as a fault; cancellation passes through.

    A fault stays what it is, and an error reply keeps the boundary its sender named; everything
    else broke at `default`. `phase` says in the message what was being done.
    """
    try:
        yield
    except Fault as fault:
        fault.add_note(phase)
        raise
    except HudProtocolError as error:
        raise fault_for(error.boundary or default, error.message, phase, error.hint) from error
    except HudError as error:
        raise fault_for(default, error.message, phase, error.hint) from error
    except Exception as error:
        text = bounded(str(error), 1_000)
        name = type(error).__qualname__
        raise fault_for(default, f"{name}: {text}" if text else name, phase) from error


def fault_for(outcome: Outcome, message: str, phase: str, hint: str | None = None) -> Fault:
    """Build the fault of an outcome."""
    fault = _FAULTS.get(outcome, RuntimeFault)(message, hint=hint)
    fault.add_note(phase)
    return fault


def phase_of(fault: BaseException, default: str = "rollout") -> str:
    """Return the innermost phase a fault was raised in."""
    notes: list[str] = getattr(fault, "__notes__", [])
    return notes[0] if notes else default
