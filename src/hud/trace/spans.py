"""Steps as spans: the form in which existing HUD tools and platforms exchange them.

A span of a step has the same id wherever and however often it is made, so whoever gets it twice
can tell. Where spans go is a sink's matter.
"""

from __future__ import annotations

import hashlib
import re
import uuid

import msgspec

from hud._core import json
from hud.trace.sinks import StepRecorded

SEQ = "hud.seq"
"""The attribute that holds a step's number; a reader who does not know it loses nothing."""
_HEX32 = re.compile(r"[0-9a-f]{32}")


def span_trace_id(task_run_id: str) -> str:
    """Return the 32 hex digits a span carries for a run id; foreign ids map through UUID 5."""
    plain = task_run_id.replace("-", "").lower()
    if _HEX32.fullmatch(plain):
        return plain
    return uuid.uuid5(uuid.NAMESPACE_URL, f"hud.task_run:{task_run_id}").hex


def step_span_id(task_run_id: str, seq: int) -> str:
    """Return the 16 hex digits that name the span of a run's step."""
    name = f"{span_trace_id(task_run_id)}:{seq}".encode()
    return hashlib.sha256(name, usedforsecurity=False).hexdigest()[:16]


def step_span(event: StepRecorded) -> bytes:
    """Return a recorded step as one encoded span."""
    return json.encode(
        {
            "name": f"step.{event.source}",
            "trace_id": span_trace_id(event.trace_id),
            "span_id": step_span_id(event.trace_id, event.seq),
            "parent_span_id": None,
            "kind": "INTERNAL",
            "start_time": event.started_at,
            "end_time": event.ended_at,
            "status_code": "ERROR" if event.error else "OK",
            "status_message": event.error,
            "attributes": {
                "hud.task_run_id": event.trace_id,
                "hud.schema": event.schema,
                SEQ: event.seq,
                "hud.payload": msgspec.Raw(event.payload),
            },
            "events": [],
        }
    )
