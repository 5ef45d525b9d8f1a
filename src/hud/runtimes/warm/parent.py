"""The warm parent: import the source once, fork a process per rollout, reap every one.

Single-threaded, and it runs no code of the user after the import. It ends when the eval process
does: the control channel closes, every child is stopped, and nothing below it survives.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import resource
import selectors
import shutil
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

from hud._core import processes
from hud._core.errors import HudError, RuntimeFault
from hud.environment.environment import Environment
from hud.runtimes.warm import child, fresh, guard, safety, wire
from hud.runtimes.warm.brood import Brood, Child
from hud.runtimes.warm.source import WarmSource, freeze

_LAST_KILL_S = 5.0
_POLL_S = 1.0
_MASK = {signal.SIGTERM}
_STATUS_UNUSABLE = 3
_OPEN_FILES = 65_536


@dataclass(frozen=True, slots=True)
class _Slots:
    """Descriptor numbers of a child's own: everything the source opened lies below them."""

    listener: int
    control: int

    @classmethod
    def reserve(cls) -> _Slots:
        """Take two numbers above every open descriptor, so that nothing else gets them."""
        top = max(int(entry.name) for entry in Path("/dev/fd").iterdir()) + 1
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            return cls(*(fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, top) for _ in range(2)))
        finally:
            os.close(null)

    @property
    def first_free(self) -> int:
        return max(self.listener, self.control) + 1


def main(control_fd: int, lifeline: int, alive: int) -> NoReturn:
    """Serve the eval process at the other end of `control_fd` until it is gone.

    `lifeline` and `alive` are the two ends of the pipe the guard watches.
    """
    for fd in (control_fd, lifeline, alive):
        os.set_inheritable(fd, False)
    control = socket.socket(fileno=control_fd)
    packet = control.recv(wire.PACKET_BYTES)
    order = wire.decode_to_parent(packet) if packet else None
    if not isinstance(order, wire.Load):
        os._exit(_STATUS_UNUSABLE)
    status = _STATUS_UNUSABLE
    try:
        if order.walled:
            os.close(lifeline)
        elif processes.LINUX:
            guard.start(lifeline, order.parent, order.directory)
        source = _prepare(control, order)
        if source is not None or order.fresh:
            Parent(control, order, source, alive).run()
            status = 0
    except BaseException:
        traceback.print_exc()
    child.leave(status)


def _prepare(control: socket.socket, order: wire.Load) -> WarmSource | None:
    """Import the source and say whether it may be forked; None when it may not."""
    cast("io.TextIOWrapper", sys.stdout).reconfigure(line_buffering=True)
    if order.walled:
        from hud.packaging import inside

        inside.lay_source()
    else:
        processes.adopt_orphans()
    if order.fresh:
        wire.send(control.fileno(), wire.Loaded())
        return None
    if not order.walled:
        processes.die_with_parent()
    if os.getppid() != order.parent:
        return None
    try:
        source = WarmSource.load(order)
    except Exception as error:
        wire.send(control.fileno(), wire.Failed.of(None, error))
        return None
    unsafe = safety.why_unsafe({control.fileno()})
    if not order.walled:
        processes.die_with_parent(0)
    if unsafe is None:
        source.rehearse()
    wire.send(control.fileno(), wire.Loaded(unsafe))
    return source if unsafe is None else None


class Parent:
    """Fork, stop and reap on request; one selector, no threads."""

    def __init__(
        self, control: socket.socket, order: wire.Load, source: WarmSource | None, alive: int
    ) -> None:
        self._control = control
        self._order = order
        self._source = source
        self._pid = os.getpid()
        self._slots = _Slots.reserve()
        # Where children close everything unseen: none of them may keep the guard waiting.
        fcntl.fcntl(alive, fcntl.F_DUPFD_CLOEXEC, self._slots.first_free)
        os.close(alive)
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._open_files = _raise_open_files(*self._limits)
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = os.pipe()
        for fd in (self._wake, self._waker):
            os.set_blocking(fd, False)
        self._ended = False
        self._termination = child.Termination(self._end)
        self._on_child = signal.signal(signal.SIGCHLD, _wake_only)
        signal.siginterrupt(signal.SIGCHLD, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._selector.register(control, selectors.EVENT_READ, self._receive)
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)
        self._brood = Brood(self._selector, order.grace_s, echo=order.verbose)

    def run(self) -> None:
        """Work until the eval process is gone and every child is reaped."""
        sys.stdout.flush()
        sys.stderr.flush()
        freeze()
        while not (self._ended and not self._brood):
            for key, _ in self._selector.select(self._timeout()):
                if key.fileobj in self._selector.get_map():
                    key.data()
            self._brood.kill_overdue()
            if not processes.LINUX:
                self._poll()
        self._brood.kill_everything(_LAST_KILL_S)
        if os.getppid() != self._order.parent:
            shutil.rmtree(self._order.directory, ignore_errors=True)

    def _timeout(self) -> float | None:
        deadline = self._brood.next_deadline_s()
        if processes.LINUX:
            return deadline
        return _POLL_S if deadline is None else min(deadline, _POLL_S)

    def _poll(self) -> None:
        if os.getppid() == 1:
            self._end()
        self._reap()

    def _end(self) -> None:
        """Stop every child and take no further orders."""
        if not self._ended:
            self._ended = True
            self._selector.unregister(self._control)
            self._brood.stop_all()

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        self._reap()

    def _reap(self) -> None:
        for gone, status in self._brood.reap():
            output = wire.tail_text(gone.tail) if status or gone.forced else ""
            message = wire.Exited(gone.id, gone.pid, status, gone.forced, output)
            wire.send(self._control.fileno(), message)

    def _receive(self) -> None:
        try:
            packet, fds, _, _ = socket.recv_fds(self._control, wire.PACKET_BYTES, 1)
        except OSError:
            packet, fds = b"", []
        if not packet:
            self._end()
            return
        match wire.decode_to_parent(packet):
            case wire.Fork() as fork:
                self._fork(fork, fds)
            case wire.Stop(id):
                self._brood.stop(id)
            case wire.Load():
                pass

    def _fork(self, fork: wire.Fork, fds: list[int]) -> None:
        """Start one rollout's process, or report why it cannot be started."""
        try:
            if not fds:
                raise RuntimeFault("a rollout's socket did not arrive: too many open files")
            env = None if self._source is None else self._source.environment(fork.env)
            read, write = self._pipe()
            fds.append(write)
            try:
                pid = self._start(fork, env, fds[0], write)
            except OSError:
                os.close(read)
                raise
            self._brood.add(Child(fork.id, pid, read))
        except OSError as error:
            fault = RuntimeFault(f"a rollout's process could not be started: {error}")
            wire.send(self._control.fileno(), wire.Failed.of(fork.id, fault))
        except HudError as error:
            wire.send(self._control.fileno(), wire.Failed.of(fork.id, error))
        finally:
            for fd in fds:
                os.close(fd)

    def _pipe(self) -> tuple[int, int]:
        """Return a pipe whose read end lies where children close everything unseen."""
        low, write = os.pipe()
        try:
            read = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, self._slots.first_free)
        except OSError:
            os.close(write)
            raise
        finally:
            os.close(low)
        os.set_blocking(read, False)
        return read, write

    def _start(self, fork: wire.Fork, env: Environment | None, listener: int, output: int) -> int:
        """Fork; a signal that arrives before the child has its own handlers waits for them."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _MASK)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(fork, env, listener, output)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _MASK)

    def _become(
        self, fork: wire.Fork, env: Environment | None, listener: int, output: int
    ) -> NoReturn:
        """Turn this fork into the rollout's process; never return."""
        status = child.STATUS_BROKEN
        try:
            self._separate(listener, output)
            report = child.Report(fork.id, self._slots.control)
            if self._order.walled:
                self._own_view(report)
            if env is not None:
                child.serve(env, report, self._slots.listener, self._pid, self._termination)
            for fd in (self._slots.listener, self._slots.control):
                os.set_inheritable(fd, True)
            order = fresh.FreshOrder(
                self._order,
                fork.id,
                fork.env,
                self._slots.listener,
                self._slots.control,
                self._pid,
            )
            words = fresh.command(order)
            os.execv(words[0], words)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _separate(self, listener: int, output: int) -> None:
        """Leave everything that is the parent's: session, signals and descriptors."""
        os.setsid()
        processes.die_with_parent()
        if os.getppid() != self._pid:
            os._exit(child.STATUS_BROKEN)
        processes.adopt_orphans()
        signal.set_wakeup_fd(-1)
        if self._on_child is not signal.SIG_DFL:
            signal.signal(signal.SIGCHLD, self._on_child)
        self._termination.action = lambda: os._exit(0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _MASK)
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
        self._selector.close()
        os.dup2(output, 1)
        os.dup2(output, 2)
        control = self._control.detach()
        os.dup2(listener, self._slots.listener, inheritable=False)
        os.dup2(control, self._slots.control, inheritable=False)
        os.closerange(self._slots.first_free, self._open_files)
        for fd in (control, listener, output, self._wake, self._waker):
            if fd < self._slots.listener:
                os.close(fd)

    def _own_view(self, report: child.Report) -> None:
        """Have what this rollout writes be its own, or report why that cannot be."""
        from hud.packaging import inside

        try:
            inside.separate_rollout()
        except RuntimeFault as error:
            child.leave(report.failed(error))


def _raise_open_files(soft: int, hard: int) -> int:
    """Make room for one descriptor per child, and return how many there can be now."""
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return _OPEN_FILES if soft == resource.RLIM_INFINITY else soft


def _wake_only(number: int, frame: object) -> None:
    """Let the wakeup descriptor end the selector's wait."""
