"""Which run the present code belongs to, and recorders by trace id.

`instrument` and `Step.emit` find their trace here. Context variables follow asyncio tasks, so
concurrent rollouts never mix.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextvars import ContextVar
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from hud.trace.recorder import Recorder

_current: ContextVar[str | None] = ContextVar("hud_trace", default=None)
_recorders: WeakValueDictionary[str, Recorder] = WeakValueDictionary()


def current_trace_id() -> str | None:
    """Return the id of the trace this code runs under, or None."""
    return _current.get()


def current_recorder() -> Recorder | None:
    """Return the recorder this code runs under, or None."""
    trace_id = _current.get()
    return None if trace_id is None else _recorders.get(trace_id)


def recorder_of(trace_id: str) -> Recorder | None:
    """Return the live recorder of a trace, or None."""
    return _recorders.get(trace_id)


@contextlib.contextmanager
def trace_context(recorder: Recorder) -> Generator[None]:
    """Run a block under a trace."""
    _recorders[recorder.trace_id] = recorder
    token = _current.set(recorder.trace_id)
    try:
        yield
    finally:
        _current.reset(token)
        _recorders.pop(recorder.trace_id, None)
