"""What is still to be reported, run by run: put in by rollouts, taken out by the reporter.

Only numbers are kept here; the steps themselves are in the local store. No I/O; every method may
be called from any thread and returns at once.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from hud._core import json
from hud._core.redact import redact_json
from hud.eval.reporting.sent import Sent
from hud.trace.sinks import Event, RunEnded, RunStarted, SpanRecorded, StepRecorded

GATHER_S = 0.2
"""How long what is new waits for more, and for the local store to have it."""
_DEBUG_BYTES = 8 * 1024 * 1024
_STALLS_AT_MOST = 100


@dataclass(slots=True)
class Entry:
    """One run.

    Attributes:
        put_seq: The number of its last step so far; None for one whose steps nobody counted here.
        sent_seq: What of them has arrived.
        has_ended: Whether it ended.
        due_at: When it is to be sent, by the monotonic clock; None when nothing is new.
        debug: Spans that are no steps.
    """

    job_id: str
    put_seq: int | None = 0
    sent_seq: int = 0
    is_entered: bool = False
    has_ended: bool = False
    due_at: float | None = None
    is_taken: bool = False
    stalls: int = 0
    debug: list[bytes] = field(default_factory=list[bytes])

    @property
    def is_open(self) -> bool:
        """Whether something of it waits, or is on its way."""
        return self.is_taken or self.due_at is not None


@dataclass(frozen=True, slots=True)
class Unsent:
    """What the platform has not got yet.

    Attributes:
        runs: Runs of which something is missing.
        steps: How many steps, as far as they are counted.
    """

    runs: int = 0
    steps: int = 0


class Backlog:
    """The runs that are under way or not reported to their end.

    Args:
        rouse: Called when there is something new and nobody was told since the last `take`.
    """

    def __init__(self, rouse: Callable[[], None]) -> None:
        self._rouse = rouse
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        # In the order in which they are due.
        self._due: dict[str, None] = {}
        self._open: Counter[str] = Counter()
        self._refused: set[str] = set()
        self._debug_bytes = 0
        self._is_told = False

    def put(self, event: Event) -> None:
        """Take note of an event of a run."""
        if event.trace_id in self._refused:
            return
        with self._lock:
            match event:
                case StepRecorded():
                    entry = self._entry(event.trace_id, "")
                    entry.put_seq = event.seq
                case RunStarted():
                    entry = self._entry(event.trace_id, event.job_id)
                    entry.job_id = event.job_id
                case RunEnded():
                    entry = self._entry(event.trace_id, event.job_id)
                    entry.has_ended = True
                case SpanRecorded():
                    entry = self._entry(event.trace_id, "")
                    self._keep_debug(entry, event)
            is_new = self._make_due(event.trace_id, entry)
            tell, self._is_told = is_new and not self._is_told, self._is_told or is_new
        if tell:
            self._rouse()

    def add(self, run_id: str, job_id: str) -> None:
        """Take note of a run that was recorded before, to be sent at once."""
        with self._lock:
            if run_id not in self._entries and run_id not in self._refused:
                entry = self._entries[run_id] = Entry(job_id, put_seq=None)
                self._make_due(run_id, entry, wait_s=0.0)

    def take(self, at_most: int, *, at_once: bool = False) -> list[tuple[str, list[bytes]]]:
        """Return runs that are due, with their debug spans; each is then on its way.

        Args:
            at_once: Also those that would only wait for more.
        """
        now = time.monotonic()
        taken: list[tuple[str, list[bytes]]] = []
        with self._lock:
            self._is_told = False
            ready = (run_id for when, run_id in self._waiting(at_once=at_once) if when <= now)
            for run_id in list(itertools.islice(ready, max(at_most, 0))):
                entry = self._entries[run_id]
                del self._due[run_id]
                entry.due_at, entry.is_taken = None, True
                self._debug_bytes -= sum(map(len, entry.debug))
                taken.append((run_id, entry.debug))
                entry.debug = []
        return taken

    def delivered(self, run_id: str, sent: Sent) -> None:
        """Say how far a taken run has come; what came in meanwhile makes it due again."""
        with self._lock:
            entry = self._entries.get(run_id)
            if entry is None:
                return
            progress = (
                sent.seq > entry.sent_seq
                or sent.is_ended
                or (sent.is_entered and not entry.is_entered)
            )
            entry.is_entered = sent.is_entered
            entry.sent_seq = max(entry.sent_seq, sent.seq)
            lacks = (entry.put_seq or 0) > sent.seq or (entry.has_ended and not sent.is_ended)
            entry.stalls = 0 if progress else entry.stalls + 1
            if lacks and entry.stalls < _STALLS_AT_MOST:
                # The local store did not have all of it yet.
                self._put_back(run_id, entry, GATHER_S)
                return
            if sent.is_ended or entry.put_seq is None:
                self._drop(run_id, entry)
                return
            entry.is_taken = False
            if entry.due_at is None:
                self._close(entry.job_id)

    def failed(self, run_id: str, debug: Sequence[bytes], *, again: bool) -> None:
        """Say that a taken run did not arrive; without `again` it is left for `hud push`."""
        with self._lock:
            entry = self._entries.get(run_id)
            if entry is None:
                return
            if again:
                room = max(0, _DEBUG_BYTES - self._debug_bytes)
                kept = [span for span in debug if (room := room - len(span)) >= 0]
                entry.debug = [*kept, *entry.debug]
                self._debug_bytes += sum(map(len, kept))
                self._put_back(run_id, entry, 0.0)
                return
            self._refused.add(run_id)
            self._drop(run_id, entry)

    def clear(self) -> None:
        """Forget everything; it stays in the local store."""
        with self._lock:
            self._entries.clear()
            self._due.clear()
            self._open.clear()
            self._debug_bytes = 0

    def open_runs(self, job_id: str | None = None) -> int:
        """Return of how many runs something waits or is on its way: of a job, or in all."""
        with self._lock:
            return self._open.total() if job_id is None else self._open[job_id]

    def unsent(self, job_id: str | None = None) -> Unsent:
        """Return what has not arrived yet of a job, or in all."""
        with self._lock:
            held = [
                entry
                for entry in self._entries.values()
                if entry.is_open and job_id in (None, entry.job_id)
            ]
            steps = sum((entry.put_seq or 0) - entry.sent_seq for entry in held if entry.put_seq)
            return Unsent(len(held), steps)

    def next_due(self, *, at_once: bool = False) -> float | None:
        """Return when `take` has something, by the monotonic clock; None when nothing waits."""
        with self._lock:
            return min((when for when, _ in self._waiting(at_once=at_once)), default=None)

    def running_in(self, job_id: str) -> str | None:
        """Return a run of a job that is under way, of which all so far has arrived."""
        with self._lock:
            for run_id, entry in self._entries.items():
                if entry.job_id == job_id and not entry.has_ended and not entry.is_open:
                    return run_id
        return None

    def _waiting(self, *, at_once: bool) -> Iterator[tuple[float, str]]:
        """Yield what may be taken with when; a run that is on its way waits for its return."""
        for run_id in self._due:
            entry = self._entries[run_id]
            if not entry.is_taken:
                yield 0.0 if at_once and not entry.stalls else entry.due_at or 0.0, run_id

    def _entry(self, run_id: str, job_id: str) -> Entry:
        entry = self._entries.get(run_id)
        if entry is None:
            entry = self._entries[run_id] = Entry(job_id)
        return entry

    def _make_due(self, run_id: str, entry: Entry, wait_s: float | None = None) -> bool:
        """Make a run due unless it is; tell whether it was not."""
        if entry.due_at is not None:
            return False
        if not entry.is_taken:
            self._open[entry.job_id] += 1
        entry.due_at = time.monotonic() + (GATHER_S if wait_s is None else wait_s)
        self._due[run_id] = None
        return True

    def _put_back(self, run_id: str, entry: Entry, wait_s: float) -> None:
        entry.is_taken = False
        if entry.due_at is None:
            entry.due_at = time.monotonic() + wait_s
            self._due[run_id] = None

    def _drop(self, run_id: str, entry: Entry) -> None:
        del self._entries[run_id]
        self._due.pop(run_id, None)
        self._debug_bytes -= sum(map(len, entry.debug))
        self._close(entry.job_id)

    def _close(self, job_id: str) -> None:
        self._open[job_id] -= 1
        if self._open[job_id] <= 0:
            del self._open[job_id]

    def _keep_debug(self, entry: Entry, event: SpanRecorded) -> None:
        span = redact_json(json.encode(event.span))
        if self._debug_bytes + len(span) <= _DEBUG_BYTES:
            entry.debug.append(span)
            self._debug_bytes += len(span)
