"""What changed in a store, told to whoever listens: event loops that show it live.

A listener hears of every commit after it began to listen, by this process or another one. It is
told what may have changed, not what it is now: it reads that itself. Listeners that are slow hear
less exactly, never less.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hud.store.entries import Entry, Values
from hud.store.rows import (
    BlobRow,
    DebugSpanRow,
    JobCounted,
    JobEnd,
    JobHeard,
    JobRow,
    RunMark,
    StepRow,
)

_PENDING_AT_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Change:
    """Something changed. Where None stands, anything may have.

    A job alone is the job's own row; a run with its job, the run's; a run alone, its steps.
    """

    team: str | None = None
    job_id: str | None = None
    run_id: str | None = None


ANYTHING = Change()


def changes_of(entries: Iterable[Entry], jobs: dict[tuple[str, str], str]) -> list[Change]:
    """Return what committing `entries` changed.

    Args:
        jobs: The jobs of runs whose entries do not say it, by team and run.
    """
    found: dict[Change, None] = {}
    for entry in entries:
        match entry:
            case StepRow() | DebugSpanRow():
                change = Change(entry.team, None, entry.run_id)
            case Values(kind=kind) if kind is JobRow:
                change = Change(entry.team, entry.job_id)
            case Values():
                run_id = entry.values[1]
                job_id = entry.job_id or jobs.get((entry.team, run_id)) or None
                change = Change(entry.team, job_id, run_id)
            case JobEnd() | JobHeard():
                change = Change(entry.team, entry.id)
            case RunMark():
                change = Change(entry.team, jobs.get((entry.team, entry.id)), entry.id)
            case BlobRow() | JobCounted():
                continue
        found[change] = None
    return list(found)


class Listener:
    """What one event loop has not heard yet. Iterating over it waits for more."""

    def __init__(self, team: str | None) -> None:
        self.is_gone = False
        self._loop = asyncio.get_running_loop()
        self._team = team
        self._lock = threading.Lock()
        self._pending: dict[Change, None] = {}
        self._arrived = asyncio.Event()
        self._has_ended = False

    def tell(self, changes: Iterable[Change]) -> None:
        """Add `changes` to what is not heard yet; from any thread."""
        if self._team is not None:
            changes = [change for change in changes if change.team in (None, self._team)]
        with self._lock:
            was_empty = not self._pending
            self._pending.update(dict.fromkeys(changes))
            if len(self._pending) > _PENDING_AT_MOST:
                self._pending = {ANYTHING: None}
            wakes = was_empty and bool(self._pending)
        if wakes:
            self._wake()

    def end(self) -> None:
        """Tell it that there will be nothing more; from any thread."""
        with self._lock:
            self._has_ended = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._arrived.set)

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        while True:
            with self._lock:
                if self._pending:
                    change = next(iter(self._pending))
                    del self._pending[change]
                    return change
                if self._has_ended:
                    raise StopAsyncIteration
                self._arrived.clear()
            await self._arrived.wait()


class Hub:
    """All who listen to one store of this process.

    Args:
        listen: Begins to listen to other processes, and returns what ends it; see `Engine.listen`.
    """

    def __init__(
        self, listen: Callable[[Callable[[Sequence[Change]], None]], Callable[[], None]]
    ) -> None:
        self._listen = listen
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._stop: Callable[[], None] | None = None
        self._is_closed = False

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def tell(self, changes: Sequence[Change]) -> None:
        """Tell all who listen; from any thread."""
        for listener in tuple(self._listeners):
            listener.tell(changes)

    @asynccontextmanager
    async def watch(self, team: str | None) -> AsyncGenerator[AsyncIterator[Change]]:
        """Do as `Store.watch`."""
        listener = Listener(team)
        try:
            await asyncio.to_thread(self._add, listener)
            yield listener
        finally:
            await asyncio.shield(asyncio.to_thread(self._remove, listener))

    def close(self) -> None:
        """End what is told to everybody who listens; safe to call twice."""
        with self._lock:
            self._is_closed = True
            listeners, self._listeners = self._listeners, []
            self._stop_listening()
        for listener in listeners:
            listener.end()

    def _add(self, listener: Listener) -> None:
        with self._lock:
            if self._is_closed or listener.is_gone:
                listener.end()
                return
            self._listeners = [*self._listeners, listener]
            if self._stop is None:
                self._stop = self._listen(self.tell)
        listener.tell([ANYTHING])

    def _remove(self, listener: Listener) -> None:
        with self._lock:
            listener.is_gone = True
            self._listeners = [one for one in self._listeners if one is not listener]
            if not self._listeners:
                self._stop_listening()

    def _stop_listening(self) -> None:
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()
