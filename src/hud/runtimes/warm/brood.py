"""The warm parent's children: what each one printed, when it must be gone, and its remains.

Also finds strangers: descendants of a finished rollout that left its process group and fell to
this process when their own parents died.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections import deque
from dataclasses import dataclass, field

from hud._core import processes

_TAIL_BYTES = 16 * 1024
_READ_BYTES = 64 * 1024
_LAST_READS = 64


@dataclass(slots=True)
class Child:
    """One rollout's process, which leads a session and process group of its own."""

    id: int
    pid: int
    output: int
    tail: bytearray = field(default_factory=bytearray)
    stopping: bool = False
    forced: bool = False

    def keep(self, chunk: bytes) -> None:
        """Append to what it printed, of which the end is kept."""
        self.tail += chunk
        del self.tail[:-_TAIL_BYTES]


class Brood:
    """Every living rollout process of this parent. Call `reap` after SIGCHLD."""

    def __init__(self, selector: selectors.BaseSelector, grace_s: float, *, echo: bool) -> None:
        self._selector = selector
        self._grace_s = grace_s
        self._echo = echo
        self._by_pid: dict[int, Child] = {}
        self._by_id: dict[int, Child] = {}
        self._deadlines: deque[tuple[float, Child]] = deque()
        own = os.getpid()
        self._spared = set(processes.children())
        self._spared_sessions = {os.getsid(own), *map(processes.session_of, self._spared)}

    def __len__(self) -> int:
        return len(self._by_pid)

    def add(self, child: Child) -> None:
        self._by_pid[child.pid] = self._by_id[child.id] = child
        self._selector.register(child.output, selectors.EVENT_READ, lambda: self._read(child))

    def stop(self, id: int) -> None:
        """Ask one child to end; it is killed when its grace is over."""
        child = self._by_id.get(id)
        if child is not None and not child.stopping:
            child.stopping = True
            self._deadlines.append((time.monotonic() + self._grace_s, child))
            processes.signal_process(child.pid, signal.SIGTERM)

    def stop_all(self) -> None:
        for id in list(self._by_id):
            self.stop(id)

    def next_deadline_s(self) -> float | None:
        """Return in how many seconds `kill_overdue` has something to do."""
        while self._deadlines and self._deadlines[0][1].pid not in self._by_pid:
            self._deadlines.popleft()
        if not self._deadlines:
            return None
        return max(0.0, self._deadlines[0][0] - time.monotonic())

    def kill_overdue(self) -> None:
        """Kill the group of every child that did not end in time."""
        while self._deadlines and self._deadlines[0][0] <= time.monotonic():
            _, child = self._deadlines.popleft()
            if self._by_pid.get(child.pid) is child:
                child.forced = True
                processes.signal_group(child.pid, signal.SIGKILL)
                processes.signal_process(child.pid, signal.SIGKILL)

    def reap(self) -> list[tuple[Child, int]]:
        """Collect every dead child with its status, and kill what it left behind."""
        gone: list[tuple[Child, int]] = []
        while (dead := processes.reap_one()) is not None:
            pid, status = dead
            self._spared.discard(pid)
            child = self._by_pid.pop(pid, None)
            if child is not None:
                del self._by_id[child.id]
                self._close_output(child)
                gone.append((child, status))
        self._kill_strangers()
        return gone

    def kill_everything(self, timeout_s: float) -> None:
        """Kill and reap whatever is left below this process, the source's own helpers too."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            left = processes.children()
            if not left:
                return
            for pid in left:
                processes.signal_group(pid, signal.SIGKILL)
                processes.signal_process(pid, signal.SIGKILL)
            while processes.reap_one() is not None:
                pass
            time.sleep(0.001)

    def _kill_strangers(self) -> None:
        """Kill adopted processes: only descendants of dead children fall to this one.

        Helpers that the source started at import share this process's session or were already
        here; they serve every rollout and are spared.
        """
        if not processes.LINUX:
            return
        for pid in processes.children():
            if pid in self._by_pid or pid in self._spared:
                continue
            if processes.session_of(pid) not in self._spared_sessions:
                processes.signal_process(pid, signal.SIGKILL)

    def _read(self, child: Child) -> None:
        if child.output < 0:
            return  # closed since the selector saw it
        try:
            chunk = os.read(child.output, _READ_BYTES)
        except BlockingIOError:
            return
        if not chunk:
            self._close_output(child)
            return
        child.keep(chunk)
        if self._echo:
            with contextlib.suppress(OSError):
                os.write(1, chunk)

    def _close_output(self, child: Child) -> None:
        if child.output < 0:
            return
        fd, child.output = child.output, -1
        self._selector.unregister(fd)
        with contextlib.suppress(OSError):
            for _ in range(_LAST_READS):
                chunk = os.read(fd, _READ_BYTES)
                if not chunk:
                    break
                child.keep(chunk)
        os.close(fd)
