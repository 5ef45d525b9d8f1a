"""What became of one rollout, as a value every layer shares.

Owns only the vocabulary; which fault maps to which outcome is decided where faults are raised.
"""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a finished rollout ended: graded, or ungraded with the boundary that broke.

    Only `GRADED` carries a reward. Every other member names the one boundary that made the
    rollout ungradable; its reward is NaN in Python and null on the wire and on disk.
    """

    GRADED = "graded"
    ENVIRONMENT = "environment"
    CAPABILITY = "capability"
    AGENT = "agent"
    MODEL = "model"
    RUNTIME = "runtime"
    GRADER = "grader"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"

    @property
    def is_graded(self) -> bool:
        return self is Outcome.GRADED


RETRYABLE: frozenset[Outcome] = frozenset({Outcome.RUNTIME, Outcome.MODEL, Outcome.CAPABILITY})
"""Ungraded outcomes whose cause may pass by itself, so a rollout is worth another attempt."""
