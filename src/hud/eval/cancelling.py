"""Rollouts and jobs of this process by their ids, so that somebody outside can cancel one.

What a cancellation does to a rollout is `holding`'s part, to a job `schedule`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator

from hud._core.ids import normal_id

Cancel = Callable[[str], None]
"""Cancels in its own event loop, for a reason in one sentence."""

_lock = threading.Lock()
_runs: dict[str, tuple[asyncio.AbstractEventLoop, Cancel]] = {}
_jobs: dict[str, list[tuple[asyncio.AbstractEventLoop, Cancel]]] = {}


@contextlib.contextmanager
def cancellable_run(run_id: str, cancel: Cancel) -> Generator[None]:
    """Let `cancel_run` reach a rollout while the block runs."""
    with _lock:
        _runs[run_id] = asyncio.get_running_loop(), cancel
    try:
        yield
    finally:
        with _lock:
            _runs.pop(run_id, None)


@contextlib.contextmanager
def cancellable_job(job_id: str, cancel: Cancel) -> Generator[None]:
    """Let `cancel_job` reach a job while the block runs."""
    entry = asyncio.get_running_loop(), cancel
    with _lock:
        _jobs.setdefault(job_id, []).append(entry)
    try:
        yield
    finally:
        with _lock:
            _jobs[job_id].remove(entry)
            if not _jobs[job_id]:
                del _jobs[job_id]


def cancel_run(run_id: str, reason: str) -> bool:
    """Cancel a rollout of this process, from any thread; return whether there is one of that id."""
    with _lock:
        entry = _runs.get(normal_id(run_id))
    return entry is not None and _call(*entry, reason)


def cancel_job(job_id: str, reason: str) -> bool:
    """Cancel what this process runs of a job, from any thread; return whether it runs any."""
    with _lock:
        entries = list(_jobs.get(normal_id(job_id), ()))
    told = [_call(loop, cancel, reason) for loop, cancel in entries]
    return any(told)


def _call(loop: asyncio.AbstractEventLoop, cancel: Cancel, reason: str) -> bool:
    try:
        loop.call_soon_threadsafe(cancel, reason)
    except RuntimeError:  # that loop is closed: nothing of it runs any more
        return False
    return True
