"""Where this process records by default: the store under HUD_HOME, and span files when asked."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hud._core.ids import new_id
from hud._core.paths import hud_home
from hud.store import JobRow, Store, open_store
from hud.store.sink import StoreSink
from hud.trace.jsonl import JsonlSink
from hud.trace.sinks import Sink

_lock = threading.Lock()
_stores: dict[Path, Store] = {}


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
                atexit.register(close_stores)
    return store


def close_stores() -> None:
    """Make everything durable and let go of the stores this process opened by default."""
    with _lock:
        stores = list(_stores.values())
        _stores.clear()
    for store in stores:
        store.close()


def default_sinks() -> tuple[Sink, ...]:
    """Return the sinks every rollout records to unless told otherwise."""
    sinks: list[Sink] = [StoreSink(default_store())]
    folder = os.environ.get("HUD_TELEMETRY_LOCAL_DIR", "").strip()
    if folder:
        sinks.append(JsonlSink(folder))
    return tuple(sinks)


def store_of(sinks: Sequence[Sink]) -> Store | None:
    """Return the store among the sinks, if there is one."""
    return next((sink.store for sink in sinks if isinstance(sink, StoreSink)), None)


def recorded_job(
    sinks: Sequence[Sink],
    name: str,
    *,
    job_id: str | None = None,
    group: int = 1,
    taskset: str | None = None,
    agent: str | None = None,
    model: str | None = None,
    runtime: str | None = None,
    spec: Mapping[str, Any] | None = None,
) -> str:
    """Record that a job begins (or goes on, when it exists) and return its id."""
    job_id = job_id or new_id()
    store = store_of(sinks)
    if store is not None:
        store.put(
            JobRow(
                id=job_id,
                created_at=time.time_ns() // 1_000,
                name=name,
                group_size=group,
                taskset=taskset,
                agent=agent,
                model=model,
                runtime=runtime,
                spec=spec,
            )
        )
    return job_id
