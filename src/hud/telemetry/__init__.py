"""Tracing names, where users import them from: `instrument`, `queue_span`, `flush`."""

from __future__ import annotations

from typing import Any

from hud.trace.context import current_recorder, recorder_of
from hud.trace.instrument import instrument

__all__ = ["flush", "instrument", "queue_span"]


def queue_span(span: dict[str, Any]) -> None:
    """Send a span to the sinks of the trace it names; one that names none goes to the present one.

    The trace is named by the attribute `hud.task_run_id`, else by `trace_id`. Does nothing when
    no such trace is under way.
    """
    attributes: dict[str, Any] = span.get("attributes") or {}
    named = attributes.get("hud.task_run_id") or span.get("trace_id")
    recorder = recorder_of(str(named)) if named else current_recorder()
    if recorder is not None:
        recorder.span(span)


def flush(timeout: float = 10.0) -> bool:
    """Make everything recorded so far durable, blocking for at most `timeout` seconds.

    With a platform configured, that also means that it has arrived there. Returns whether it is.
    """
    import time

    from hud.eval.recording import flush_stores
    from hud.eval.reporting.sink import flush_reporters

    until = time.monotonic() + timeout
    is_durable = flush_stores(timeout)
    return flush_reporters(max(0.0, until - time.monotonic())) and is_durable
