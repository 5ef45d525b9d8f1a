"""Which boundary broke: turn whatever a phase of a rollout raised into a fault that says it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Iterator
from typing import Any

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

_A_PEER_MAY_NAME = frozenset(
    {
        Outcome.ENVIRONMENT,
        Outcome.GRADER,
        Outcome.CAPABILITY,
        Outcome.MODEL,
        Outcome.RUNTIME,
    }
)


@contextlib.contextmanager
def boundary(default: Outcome, phase: str) -> Generator[None]:
    """Raise any exception of the block as a fault; cancellation passes through.

    A fault stays what it is, also inside of an exception group, and an error reply keeps the
    boundary its sender named; everything else broke at `default`. `phase` says in the message
    what was being done. A `CancelledError` that nobody asked this task for (code that waited for
    a task of its own which had been cancelled) is an error like any other.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        if is_cancelled():
            error.add_note(phase)
            raise
        text = "its code raised CancelledError, although nobody cancelled it"
        raise fault_for(default, text, phase) from error
    except (Exception, SystemExit) as error:
        fault = _as_fault(error, default)
        fault.add_note(phase)
        if fault is error:
            raise
        raise fault from error


def is_cancelled() -> bool:
    """Tell whether somebody has asked the present task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _as_fault(error: BaseException, default: Outcome) -> Fault:
    match error:
        case Fault():
            return error
        case HudProtocolError():
            named = error.boundary
            if named is Outcome.CANCELLED:  # not by us: it is the environment that stops
                named = Outcome.RUNTIME
            outcome = named if named is not None and named in _A_PEER_MAY_NAME else default
            return _make(outcome, error.message, error.hint)
        case HudError():
            return _make(default, error.message, error.hint)
        case BaseExceptionGroup():
            leaves = list(_leaves(error))
            first = next((leaf for leaf in leaves if isinstance(leaf, Fault)), leaves[0])
            return _as_fault(first, default)
        case _:
            return _make(default, describe(error))


def _leaves(error: object) -> Iterator[BaseException]:
    """Yield the exceptions in a group of groups, or the one that is no group."""
    held: Any = error
    if isinstance(error, BaseExceptionGroup):
        for inner in held.exceptions:
            yield from _leaves(inner)
    else:
        yield held


def _make(outcome: Outcome, message: str, hint: str | None = None) -> Fault:
    return _FAULTS.get(outcome, RuntimeFault)(message, hint=hint)


def describe(error: BaseException) -> str:
    """Return an exception as one bounded text, also one whose own text cannot be had.

    Of a group it is the first one inside.
    """
    error = next(_leaves(error), error)
    if isinstance(error, HudError):
        return error.message
    try:
        text = bounded(str(error), 1_000)
    except Exception:  # an exception class of a user's, with a broken __str__
        text = ""
    name = type(error).__qualname__
    return f"{name}: {text}" if text else name


def fault_for(outcome: Outcome, message: str, phase: str, hint: str | None = None) -> Fault:
    """Build the fault of an outcome."""
    fault = _make(outcome, message, hint)
    fault.add_note(phase)
    return fault


def phase_of(fault: BaseException, default: str = "rollout") -> str:
    """Return the innermost phase a fault was raised in."""
    notes: list[str] = getattr(fault, "__notes__", [])
    return notes[0] if notes else default
