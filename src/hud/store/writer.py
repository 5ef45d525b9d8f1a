"""The hot path: rows go in from an event loop, one thread commits them in groups.

`put` only queues. The thread takes everything queued, writes it in one transaction, then wakes
everybody who waited for it: one wake-up per event loop and batch. Rows that could not be written
stay queued and are tried again with the next batch.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from hud._core.errors import StoreError
from hud.store.blobs import Blobs
from hud.store.changes import Change, Hub
from hud.store.engine import Engine
from hud.store.entries import Entry, entry_of
from hud.store.rows import Row, size_of
from hud.store.transactor import Transactor

logger = logging.getLogger(__name__)

BUDGET_BYTES = 64 * 1024 * 1024
LINGER_S = 0.05
"""How long rows nobody waits for may stay in memory."""
GATHER_S = 0.004
"""How long the first of many waiters waits for the others, so that they share one commit."""
LOOK_S = 0.15
"""How often to ask for the commits of other processes while somebody listens."""
_FULL_BYTES = 8 * 1024 * 1024

_Waiter = tuple[int, asyncio.Future[None]]

_PROCEED, _FOREVER, _LINGERING, _GATHERING = range(4)


class Writer:
    """Writes rows to one database from one thread of this process.

    Everything but `committed` may be called from any thread. In a forked child the writer refuses:
    the child opens the store again.

    Attributes:
        hub: Whoever listens to what changes in the store hears of every commit.
    """

    def __init__(self, engine: Engine, blobs: Blobs, *, budget_bytes: int = BUDGET_BYTES) -> None:
        self.engine = engine
        self.key = (engine.key, blobs.where)
        self.hub = Hub(self._listen)
        self._transactor = Transactor(engine, blobs, self.hub)
        self._budget = budget_bytes
        self._reset_locks()
        self._queue: list[Entry] = []
        self._queued_bytes = 0
        self._unwritten: list[Entry] = []
        self._put_count = 0
        self._done_count = 0
        self._waiters: list[_Waiter] = []
        self._sleep = _PROCEED
        self._urgent = False
        self._closing = False
        self._refusal: StoreError | None = None
        self._failure: StoreError | None = None
        self._crowd = 0
        self._thread: threading.Thread | None = None
        _writers[id(self)] = self

    def _reset_locks(self) -> None:
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._wake = threading.Lock()
        self._wake.acquire()

    # -- the caller's side ------------------------------------------------------------------

    def put(self, row: Row) -> None:
        """Queue `row`. Blocks only while more than the byte budget waits to be written.

        Raises:
            StoreError: when the writer is closed, belongs to another process, or cannot write
                and its budget is used up.
            TypeError: when a document of the row has no JSON form.
        """
        entry = entry_of(row)
        size = size_of(row)
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            if self._thread is None:
                self._start()
            if self._queued_bytes + size > self._budget and self._queued_bytes:
                self._wait_for_room(size)
            self._queue.append(entry)
            self._queued_bytes += size
            self._put_count += 1
            if self._sleep == _FOREVER:
                if not self._unwritten:
                    self._rouse()
            elif self._sleep != _PROCEED and self._queued_bytes > _FULL_BYTES:
                self._rouse()

    async def committed(self) -> None:
        """Return once everything put before this call is durably committed.

        Cancelling the wait does not take the rows back.

        Raises:
            StoreError: when the rows could not be written; they are kept and tried again by the
                next call.
        """
        future: asyncio.Future[None] | None = None
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            if self._done_count < self._put_count:
                future = asyncio.get_running_loop().create_future()
                self._waiters.append((self._put_count, future))
                if self._sleep in (_FOREVER, _LINGERING):
                    self._rouse()
        if future is not None:
            await future

    def flush(self, timeout: float | None = None) -> None:
        """Block until everything put before this call is durably committed.

        Args:
            timeout: Seconds to wait at most; None waits as long as it takes.

        Raises:
            StoreError: when the rows could not be written, or not within `timeout`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            target = self._put_count
            self._failure = None
            while self._done_count < target:
                self._urgent = True
                if self._sleep != _PROCEED:
                    self._rouse()
                left = None if deadline is None else deadline - time.monotonic()
                if (left is not None and left <= 0) or not self._room.wait(left):
                    raise StoreError(
                        f"the store {self.engine.where} did not commit within {timeout:g} s",
                        hint="another process may hold it; what was recorded is kept in memory",
                    )
                if self._failure is not None and self._done_count < target:
                    raise self._failure

    def close(self) -> None:
        """Commit what is queued and end the thread; safe to call twice.

        Raises:
            StoreError: when something could not be written; it is lost with this process.
        """
        try:
            if self._thread is not None and self._refusal is None:
                self.flush()
        finally:
            with self._lock:
                self._closing = True
                self._refusal = self._refusal or StoreError(
                    f"the store {self.engine.where} is closed"
                )
                if self._sleep != _PROCEED:
                    self._rouse()
                thread = self._thread
            if thread is not None and thread is not threading.current_thread():
                thread.join()
            self.hub.close()
            _writers.pop(id(self), None)

    def _listen(self, heard: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        if not self.engine.is_polled:
            return self.engine.listen(heard)
        with self._lock:
            if self._refusal is None and self._thread is None:
                self._start()
            elif self._sleep != _PROCEED:
                self._rouse()
        return _nothing

    def _wait_for_room(self, size: int) -> None:
        while self._queued_bytes and self._queued_bytes + size > self._budget:
            self._failure = None
            self._urgent = True
            if self._sleep != _PROCEED:
                self._rouse()
            self._room.wait()
            if self._failure is not None:
                raise self._failure
            if self._refusal is not None:
                raise self._refusal

    def _rouse(self) -> None:
        # In this order, and the thread takes a token too many in its stride: a signal handler
        # that raises between the two must not leave it asleep.
        if self._wake.locked():
            self._wake.release()
        self._sleep = _PROCEED

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="hud-store-writer", daemon=True)
        self._thread.start()

    # -- the thread's side ------------------------------------------------------------------

    def _run(self) -> None:
        while self._await_rows():
            self._write_once()
        if self._queue:  # put between the last flush and the end
            self._write_once()
        self._transactor.disconnect()

    def _await_rows(self) -> bool:
        """Sleep until a batch is worth writing; False when closing."""
        while True:
            with self._lock:
                if self._closing:
                    return False
                waiting = bool(self._waiters) or self._urgent
                # Rows that failed wait for somebody who can be told.
                if waiting or (self._queue and not self._unwritten):
                    break
                self._sleep = _FOREVER
            while not self._wake.acquire(timeout=LOOK_S if self._has_to_look() else -1):
                self._transactor.look_elsewhere()
            with self._lock:
                self._sleep = _PROCEED
        if not waiting:
            self._nap(_LINGERING, LINGER_S)
        elif self._crowd > 1:
            self._nap(_GATHERING, GATHER_S)
        return not self._closing

    def _has_to_look(self) -> bool:
        return self.engine.is_polled and self.hub.is_heard

    def _nap(self, kind: int, seconds: float) -> None:
        with self._lock:
            if self._urgent or self._queued_bytes > _FULL_BYTES:
                return
            if kind == _LINGERING and self._waiters:
                return
            self._sleep = kind
        self._wake.acquire(timeout=seconds)
        with self._lock:
            self._sleep = _PROCEED

    def _write_once(self) -> None:
        with self._lock:
            rows = self._unwritten + self._queue if self._unwritten else self._queue
            self._unwritten, self._queue = [], []
            taken, taken_bytes = self._put_count, self._queued_bytes
            waiters, self._waiters = self._waiters, []
            self._urgent = False
        failure, written = self._transactor.write(rows) if rows else (None, True)
        with self._lock:
            self._crowd = len(waiters)
            if written:
                self._done_count = taken
                self._queued_bytes -= taken_bytes
                waiters += [waiter for waiter in self._waiters if waiter[0] <= taken]
                self._waiters = [waiter for waiter in self._waiters if waiter[0] > taken]
            else:
                self._unwritten = rows
            self._failure = failure
            self._room.notify_all()
        _settle(waiters, failure)
        if failure is not None and not waiters:
            logger.warning("%s", failure)


def _nothing() -> None:
    pass


def _settle(waiters: list[_Waiter], failure: StoreError | None) -> None:
    """Complete `waiters`, with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for _, future in waiters:
        by_loop.setdefault(future.get_loop(), []).append(future)
    for loop, futures in by_loop.items():
        try:
            loop.call_soon_threadsafe(_complete, futures, failure)
        except RuntimeError:  # that loop is closed: nobody waits any more
            continue


def _complete(futures: list[asyncio.Future[None]], failure: StoreError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            error = StoreError(failure.message, hint=failure.hint)
            error.__cause__ = failure.__cause__
            future.set_exception(error)


_writers: dict[int, Writer] = {}
_inherited: list[object] = []
_shared: dict[tuple[str, str], tuple[Writer, int]] = {}
_sharing = threading.Lock()


def acquire(engine: Engine, blobs: Blobs) -> Writer:
    """Return this process's one writer of a database; `release` it when done."""
    key = (engine.key, blobs.where)
    with _sharing:
        writer, users = _shared.get(key) or (Writer(engine, blobs), 0)
        _shared[key] = writer, users + 1
        return writer


def release(writer: Writer) -> None:
    """Give back what `acquire` returned: make its rows durable, close it after the last user.

    Raises:
        StoreError: when rows could not be written.
    """
    with _sharing:
        shared, users = _shared.get(writer.key, (None, 0))
        last = shared is not writer or users <= 1
        if shared is writer:
            if last:
                del _shared[writer.key]
            else:
                _shared[writer.key] = writer, users - 1
    if last:
        writer.close()
    else:
        writer.flush()


def _after_fork() -> None:
    for writer in _writers.values():
        # Closing a connection that came through a fork would touch the parent's locks and log.
        _inherited.append(writer._transactor)  # pyright: ignore[reportPrivateUsage]
        writer._reset_locks()  # pyright: ignore[reportPrivateUsage]
        writer._thread = None  # pyright: ignore[reportPrivateUsage]
        writer._refusal = StoreError(  # pyright: ignore[reportPrivateUsage]
            f"the store {writer.engine.where} was opened before this process was forked",
            hint="open it again in the child",
        )
    _writers.clear()
    _shared.clear()
    global _sharing  # noqa: PLW0603 -- another thread of the parent may have held it
    _sharing = threading.Lock()


def _at_exit() -> None:
    for writer in list(_writers.values()):
        try:
            writer.close()
        except StoreError as error:
            logger.error("%s", error)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
