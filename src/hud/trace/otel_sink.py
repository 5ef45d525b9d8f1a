"""A sink that sends what runs do to an OpenTelemetry collector while they do it.

Only ever made when somebody asked for it. It never slows a run down or breaks one: events wait in
memory up to a limit, a thread sends them, and a collector that does not take them loses them, with
a warning. The record of the run is the store's, not this one's.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from hud.trace.otel_spans import Span, SpanMaker
from hud.trace.sinks import Event, RunEnded, RunStarted, StepRecorded

logger = logging.getLogger(__name__)

WAITING_BYTES = 64 * 1024 * 1024
"""What may wait to be sent; more is dropped."""

_BATCH_EVENTS = 512
_BATCH_BYTES = 4 * 1024 * 1024
_RUNS_KNOWN = 100_000
_OVERHEAD_BYTES = 600


class Taker(Protocol):
    """What spans are sent to: a `hud.trace.otel.Collector`."""

    def send(self, spans: Sequence[Span]) -> bool: ...
    def close(self) -> None: ...


class OtelSink:
    """Send events as spans, in a thread of its own that starts with the first event.

    Attributes:
        dropped: Events that no collector will get: it did not take them, or too many waited.
    """

    def __init__(
        self,
        connect: Callable[[], Taker],
        maker: SpanMaker | None = None,
        *,
        patience_s: float = 2.0,
        pause_s: float = 30.0,
        waiting_bytes: int = WAITING_BYTES,
    ) -> None:
        """Make the sink.

        Args:
            connect: Opens the collector, in the thread.
            patience_s: How long `committed` waits for it at most.
            pause_s: For how long nothing is tried after it did not take something.
        """
        self._connect = connect
        self._maker = maker or SpanMaker()
        self._patience_s = patience_s
        self._pause_s = pause_s
        self._limit = waiting_bytes
        self._queue: deque[Event] = deque()
        self._waiting = 0
        self._put = self._done = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._taker: Taker | None = None
        self._is_closing = False
        self._started: dict[str, RunStarted] = {}
        self._waiters: list[tuple[int, Callable[[], None]]] = []
        self.dropped = 0

    def put(self, event: Event) -> None:
        if not isinstance(event, RunStarted | RunEnded | StepRecorded):
            return
        size = _size(event)
        with self._changed:
            if self._is_closing:
                return
            if self._waiting + size > self._limit:
                self._drop(1, "too much waits to be sent")
                return
            self._queue.append(event)
            self._waiting += size
            self._put += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="hud-otel", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    async def committed(self) -> None:
        """Return once everything put before was sent, or given up, or patience is over."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def tell() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        with self._changed:
            if self._done >= self._put:
                return
            waiter = (self._put, tell)
            self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._patience_s):
                await done.wait()
        except TimeoutError:
            logger.debug("the OpenTelemetry collector takes its time")
        finally:
            with self._changed:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what waits for at most `timeout_s`, then end the thread; safe to call twice."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done >= self._put, timeout_s)
            thread, taker = self._thread, self._taker
            if self._queue:
                self._drop(len(self._queue), "the process ends")
                self._done += len(self._queue)
                self._queue.clear()
            waiters, self._waiters = self._waiters, []
        for _, tell in waiters:
            tell()
        if taker is not None:
            taker.close()  # ends a send under way
        if thread is not None:
            thread.join(max(0.1, deadline - time.monotonic()))

    def _work(self) -> None:
        paused_until = 0.0
        while True:
            events = self._next_batch()
            if not events:
                return
            if time.monotonic() < paused_until:
                self._finish(len(events), "the collector did not take what came before")
            elif self._send(events):
                self._finish(len(events), None)
            else:
                paused_until = time.monotonic() + self._pause_s
                self._finish(len(events), "the collector does not take them")

    def _next_batch(self) -> list[Event]:
        """Wait for events and return them; none when the sink is closed and all is sent."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closing)
            events: list[Event] = []
            size = 0
            while self._queue and len(events) < _BATCH_EVENTS and size < _BATCH_BYTES:
                event = self._queue.popleft()
                events.append(event)
                size += _size(event)
            self._waiting -= size
            return events

    def _send(self, events: Sequence[Event]) -> bool:
        try:
            spans = [span for event in events for span in self._spans(event)]
            if self._taker is None:
                self._taker = self._connect()
            return not spans or self._taker.send(spans)
        except Exception as error:
            logger.debug("sending spans failed", exc_info=error)
            return False

    def _spans(self, event: Event) -> list[Span]:
        match event:
            case RunStarted():
                if len(self._started) < _RUNS_KNOWN:
                    self._started[event.trace_id] = event
                return []
            case RunEnded():
                span = self._maker.run_span(self._started.pop(event.trace_id, None), event)
                return [span] if span is not None else []
            case StepRecorded():
                return list(self._maker.step_spans(event))
            case _:
                return []

    def _finish(self, count: int, lost_because: str | None) -> None:
        with self._changed:
            if lost_because is not None:
                self._drop(count, lost_because)
            self._done += count
            ready = [tell for number, tell in self._waiters if number <= self._done]
            self._waiters = [one for one in self._waiters if one[0] > self._done]
            self._changed.notify_all()
        for tell in ready:
            tell()

    def _drop(self, count: int, reason: str) -> None:
        if not self.dropped:
            logger.warning("OpenTelemetry: events of runs are dropped: %s", reason)
        self.dropped += count


def _size(event: Event) -> int:
    return _OVERHEAD_BYTES + (len(event.payload) if isinstance(event, StepRecorded) else 0)
