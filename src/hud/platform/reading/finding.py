"""One job or run of the caller's team, by whatever a client calls it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from hud._core.errors import InputError
from hud._core.ids import is_id, normal_id
from hud.platform.errors import not_found
from hud.platform.identity import Caller
from hud.platform.services import Services
from hud.store import JobRecord, RunRecord
from hud.trace.jsonl import span_trace_id

RecordId = Annotated[str, Path(min_length=1, max_length=200)]
"""An id: dashed or plain, whole or its first digits, or what a client calls a run itself."""

_SHORTEST = 4


def find_run(services: Services, caller: Caller, text: str) -> RunRecord:
    """Return a run of the caller's team.

    Raises:
        ApiError: with status 404, when they have none, or several begin like this.
    """
    for run_id in _candidates(text):
        try:
            return services.store.find_run(run_id, team=caller.team)
        except InputError:
            continue
    not_found("run", text)


def find_job(services: Services, caller: Caller, text: str) -> JobRecord:
    """Return a job of the caller's team.

    Raises:
        ApiError: with status 404, when they have none, or several begin like this.
    """
    for job_id in _candidates(text):
        try:
            return services.store.find_job(job_id, team=caller.team)
        except InputError:
            continue
    not_found("job", text)


def _candidates(text: str) -> list[str]:
    plain = normal_id(text)
    if is_id(plain):
        return [plain]
    is_prefix = _SHORTEST <= len(plain) < 32 and all(one in "0123456789abcdef" for one in plain)
    return [*([plain] if is_prefix else []), span_trace_id(text.strip())]
