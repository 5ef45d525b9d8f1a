"""Where this process records by default: the store under HUD_HOME.

When asked also span files, and an OpenTelemetry collector. With a platform configured, what is
recorded is reported there too.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hud._core.errors import StoreError
from hud._core.ids import is_id, new_id, normal_id
from hud._core.paths import hud_home
from hud.eval.reporting.reporter import FAREWELL_S
from hud.eval.reporting.sink import PlatformSink, configured_sink
from hud.store import JobEnd, JobRow, JobStatus, Store, open_store
from hud.store.sink import StoreSink
from hud.trace.jsonl import JsonlSink
from hud.trace.otel_sink import OtelSink
from hud.trace.sinks import Sink

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_stores: dict[Path, Store] = {}
_otel: list[OtelSink] = []


def default_store() -> Store:
    """Return this process's store under HUD_HOME, opened once and closed at exit.

    Raises:
        StoreError: when it cannot be opened.
    """
    home = hud_home(create=False)
    with _lock:
        store = _stores.get(home)
        if store is None:
            store = _stores[home] = open_store(home)
            if len(_stores) == 1:
                atexit.unregister(_close_at_exit)
                atexit.register(_close_at_exit)
    return store


def flush_stores(timeout_s: float) -> bool:
    """Make what was put into the default stores durable; return whether that worked in time."""
    with _lock:
        stores = list(_stores.values())
    try:
        for store in stores:
            store.flush(timeout_s)
    except StoreError as error:
        logger.warning("%s", error)
        return False
    return True


def close_stores() -> None:
    """Make everything durable and let go of the stores this process opened by default.

    Raises:
        StoreError: when one could not be written; the others are closed nevertheless.
    """
    with _lock:
        stores = list(_stores.values())
        _stores.clear()
        sinks = list(_otel)
        _otel.clear()
    for sink in sinks:
        sink.close()
    with contextlib.ExitStack() as closing:
        for store in stores:
            closing.callback(store.close)


def _close_at_exit() -> None:
    try:
        close_stores()
    except StoreError as error:
        logger.error("%s", error)


def _forget_stores() -> None:
    """In a forked child: the stores are the parent's, and another thread may have held the lock."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _stores.clear()
    _otel.clear()


os.register_at_fork(after_in_child=_forget_stores)


def default_sinks() -> tuple[Sink, ...]:
    """Return the sinks every rollout records to unless told otherwise.

    Raises:
        StoreError: when the store or a span file's folder cannot be opened.
        InputError: when `HUD_OTEL` asks for what cannot be had.
    """
    sinks: list[Sink] = [StoreSink(default_store())]
    folder = os.environ.get("HUD_TELEMETRY_LOCAL_DIR", "").strip()
    if folder:
        sinks.append(JsonlSink(folder))
    platform = configured_sink()
    if platform is not None:
        sinks.append(platform)
    otel = _otel_sink()
    if otel is not None:
        sinks.append(otel)
    return tuple(sinks)


def _otel_sink() -> OtelSink | None:
    """Return this process's one sink to a collector; None unless the environment asks for it."""
    if not os.environ.get("HUD_OTEL"):
        return None
    from hud.eval.otel_export import sink_from_environment

    with _lock:
        if not _otel:
            made = sink_from_environment()
            if made is None:
                return None
            _otel.append(made)
        return _otel[0]


def store_of(sinks: Sequence[Sink]) -> Store | None:
    """Return the store among the sinks, if there is one."""
    return next((sink.store for sink in sinks if isinstance(sink, StoreSink)), None)


def job_row(
    name: str,
    *,
    job_id: str | None = None,
    group: int = 1,
    taskset: str | None = None,
    agent: str | None = None,
    model: str | None = None,
    runtime: str | None = None,
    spec: Mapping[str, Any] | None = None,
    taskset_id: str | None = None,
) -> JobRow:
    """Return the row that says that a job begins, or goes on when it exists."""
    return JobRow(
        id=job_id or new_id(),
        created_at=_now(),
        name=name,
        group_size=group,
        taskset=taskset,
        agent=agent,
        model=model,
        runtime=runtime,
        spec=spec,
        taskset_id=_stored_id(taskset_id),
    )


def _stored_id(text: str | None) -> str | None:
    plain = normal_id(text or "")
    return plain if is_id(plain) else None


class JobHold:
    """How many in this process work on one job: the first locks it, the last lets go."""

    def __init__(self) -> None:
        self.users = 0
        self.status: JobStatus = "completed"
        self._lock = contextlib.ExitStack()

    def take(self, store: Store, job_id: str) -> None:
        """Become one of those.

        Raises:
            InputError: when somebody else works on the job.
        """
        if self.users == 0:
            self._lock.enter_context(store.lock_job(job_id))
            self.status = "completed"
        self.users += 1

    def let_go(self) -> None:
        """Be none of those any more."""
        self.users -= 1
        if self.users == 0:
            self._lock.close()


@contextlib.asynccontextmanager
async def working_on(
    hold: JobHold,
    row: JobRow,
    sinks: Sequence[Sink],
    *,
    was_stopped: Callable[[], bool] = lambda: False,
    worked_s: Callable[[], float | None] = lambda: None,
) -> AsyncGenerator[None]:
    """Hold a job while the block runs, and record its beginning and how it ended.

    Args:
        hold: The job's own; blocks with the same one may overlap.
        was_stopped: Asked at the end: whether the job was made to end early.
        worked_s: Asked at the end: how long it was worked on in all.

    Raises:
        InputError: when somebody else works on the job.
        StoreError: when the record cannot be kept.
    """
    store = store_of(sinks)
    if store is None:
        yield
        return
    hold.take(store, row.id)
    async with _reporting(row.id, sinks):
        status: JobStatus = "interrupted"
        try:
            store.put(row)
            yield
            status = "cancelled" if was_stopped() else "completed"
        except asyncio.CancelledError:
            status = "cancelled"
            raise
        finally:
            if status != "completed":
                hold.status = status
            try:
                if hold.users == 1:
                    worked = worked_s()
                    end = JobEnd(id=row.id, status=hold.status, ended_at=_now(), worked_s=worked)
                    store.put(end)
                await store.committed()
            finally:
                hold.let_go()


@contextlib.asynccontextmanager
async def _reporting(job_id: str, sinks: Sequence[Sink]) -> AsyncGenerator[None]:
    """Report a job while the block runs, if it is to be; say what did not arrive by its end."""
    reporter = next((sink.reporter for sink in sinks if isinstance(sink, PlatformSink)), None)
    if reporter is None:
        yield
        return
    reporter.hold(job_id)
    try:
        yield
    finally:
        unsent = await reporter.leave(job_id, FAREWELL_S)
        if unsent.runs:
            runs = "1 run" if unsent.runs == 1 else f"{unsent.runs:,} runs"
            logger.warning(
                "job %s: %s (%s steps) not yet at the platform; hud push sends what is missing",
                *(job_id, runs, f"{unsent.steps:,}"),
            )


def _now() -> int:
    return time.time_ns() // 1_000
