"""Spans and reports as clients send them."""

from __future__ import annotations

import secrets
from typing import Any

STARTED = "2026-11-01T10:00:00.000000Z"
ENDED = "2026-11-01T10:00:01.500000Z"


def step(
    run_id: str,
    number: int | None,
    payload: dict[str, Any] | None = None,
    *,
    source: str = "agent",
    schema: str = "hud.step.v1",
    span_id: str | None = None,
    **attributes: Any,
) -> dict[str, Any]:
    """Return a step's span; `number` goes where the published client puts it."""
    body: dict[str, Any] = {"source": source, **(payload or {})}
    if number is not None:
        body["step_id"] = number
    return span(
        run_id,
        f"step.{source}",
        span_id=span_id,
        **{"hud.schema": schema, "hud.payload": body, **attributes},
    )


def attributes(**named: Any) -> dict[str, Any]:
    """Return attributes by name, a dot for two underscores."""
    return {name.replace("__", "."): value for name, value in named.items()}


def span(run_id: str, name: str, *, span_id: str | None = None, **attributes: Any) -> Any:
    """Return a span of a run."""
    return {
        "name": name,
        "trace_id": run_id,
        "span_id": span_id or secrets.token_hex(8),
        "parent_span_id": None,
        "kind": "INTERNAL",
        "start_time": STARTED,
        "end_time": ENDED,
        "status_code": "OK",
        "status_message": None,
        "attributes": {"hud.task_run_id": run_id, **attributes},
        "events": [],
    }


def upload_path(run_id: str) -> str:
    """Return where the spans of a run are sent."""
    return f"/telemetry/v3/api/trace/{run_id}/telemetry-upload"
