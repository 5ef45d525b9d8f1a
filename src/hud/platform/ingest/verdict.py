"""Validity at the door: whether a run that ended was graded, and if not, which boundary broke.

A reward alone is no grade: clients send 0.0 for a run that nobody graded. What counts is the
result of the evaluation that stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hud._core import json
from hud._core.outcome import Outcome
from hud.platform.ingest.lenient import number_of, object_of, text_of
from hud.store import RunStatus

ERROR_LIMIT = 64 * 1024
_EVALUATION_LIMIT_BYTES = 256 * 1024

# What was being done when a run broke, as clients begin their sentences with it.
PHASES: Mapping[str, Outcome] = {
    "provisioning": Outcome.RUNTIME,
    "connecting": Outcome.RUNTIME,
    "starting task": Outcome.ENVIRONMENT,
    "agent loop": Outcome.AGENT,
    "grading": Outcome.GRADER,
    "snapshotting actor": Outcome.RUNTIME,
    "provisioning verifier": Outcome.RUNTIME,
    "verifying": Outcome.GRADER,
    "actor cleanup": Outcome.RUNTIME,
    "cleanup": Outcome.RUNTIME,
    "rollout": Outcome.RUNTIME,
}
_PHASE = re.compile(r"\s*\[([a-z ]{1,40})\]")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a run. `reward` is a number when, and only when, the outcome is graded."""

    status: RunStatus
    outcome: Outcome
    reward: float | None
    error: str | None
    evaluation: dict[str, Any] | None


def judge(report: Mapping[str, Any]) -> Verdict:
    """Return what the report of a run's end means.

    A client that knows outcomes says one, and is believed except for a grade without a score.
    """
    status = _status(report.get("status"))
    error = text_of(report.get("error"), ERROR_LIMIT)
    evaluation = object_of(report.get("evaluation_result"))
    score = None if evaluation is None else number_of(evaluation.get("score"))
    said = _outcome(report.get("outcome"))
    kept = None if evaluation is None else _bounded(evaluation)
    is_meant = said is Outcome.GRADED or (
        said is None and status != "cancelled" and not (evaluation or {}).get("isError")
    )
    if is_meant and score is not None:
        return Verdict(status or "completed", Outcome.GRADED, score, error, kept)
    outcome = said if said not in (None, Outcome.GRADED) else _cause(report, status, error)
    ended: RunStatus = "cancelled" if outcome is Outcome.CANCELLED else "error"
    return Verdict(ended, outcome, None, error or _sentence(evaluation, outcome), kept)


def _status(value: Any) -> RunStatus | None:
    return value if value in ("completed", "error", "cancelled") else None


def _outcome(value: Any) -> Outcome | None:
    try:
        return Outcome(value)
    except ValueError:
        return None


def _cause(report: Mapping[str, Any], status: RunStatus | None, error: str | None) -> Outcome:
    if status == "cancelled":
        return Outcome.CANCELLED
    if report.get("stop_reason") == "timeout":
        return Outcome.TIMEOUT
    phase = _PHASE.match(error or "")
    if phase is not None and (outcome := PHASES.get(phase[1])) is not None:
        return outcome
    # It came to an end without a grade: what should have given one did not.
    return (
        Outcome.GRADER
        if status == "completed" or object_of(report.get("evaluation_result"))
        else Outcome.RUNTIME
    )


def _sentence(evaluation: dict[str, Any] | None, outcome: Outcome) -> str:
    if outcome is Outcome.CANCELLED:
        return "the run was cancelled"
    if evaluation is None:
        return "the run ended without a grade"
    said = text_of(evaluation.get("content"), ERROR_LIMIT)
    if evaluation.get("isError"):
        return said or "the evaluation itself failed"
    return "the evaluation has no finite score"


def _bounded(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return a result that a listing can carry; the whole is in the run's steps."""
    size = len(json.encode(evaluation))
    if size <= _EVALUATION_LIMIT_BYTES:
        return evaluation
    kept = {name: evaluation[name] for name in ("score", "done", "isError") if name in evaluation}
    content = text_of(evaluation.get("content"), 10_000)
    return {**kept, "content": content, "truncated": True, "size_bytes": size}
