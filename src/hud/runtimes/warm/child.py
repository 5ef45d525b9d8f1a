"""What a rollout's process does: serve one environment on one socket until told to stop.

The same code runs in a fork of the warm parent and in a fresh interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from hud._core.processes import LINUX
from hud._core.seeds import reseed
from hud.environment.environment import Environment
from hud.environment.server import bind
from hud.runtimes.warm import wire

_WATCH_PARENT_S = 1.0
STATUS_BROKEN = 70


class Report:
    """A rollout process's one report to the eval process: ready, or why not."""

    def __init__(self, id: int, control: int) -> None:
        self._id = id
        self._control: int | None = control

    def ready(self) -> None:
        self._send(wire.Ready(self._id, os.getpid()))

    def failed(self, error: BaseException) -> int:
        """Report an error, or print it where the report is used up; return the exit status."""
        if self._control is None:
            traceback.print_exception(error)
            code = error.code if isinstance(error, SystemExit) else None
            return code if isinstance(code, int) else STATUS_BROKEN
        self._send(wire.Failed.of(self._id, error, started=True))
        return 0

    def _send(self, message: wire.FromParent) -> None:
        control, self._control = self._control, None
        if control is not None:
            wire.send(control, message)
            os.close(control)


class Termination:
    """The SIGTERM handler: installed once, before the forks, and pointed anew in each child.

    That is cheaper for every child than to install one, and no moment is left unhandled.
    """

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action
        signal.signal(signal.SIGTERM, self)

    def __call__(self, number: int, frame: object) -> None:
        self.action()


def serve(
    env: Environment, report: Report, listener: int, parent: int, termination: Termination
) -> NoReturn:
    """Serve `env` on the listening descriptor `listener` until SIGTERM; never return.

    Args:
        report: Where to say once that connections are accepted, or why they are not.
        parent: Pid of the process whose death ends this one too.
        termination: The installed handler, still pointing elsewhere.
    """
    status = 0
    try:
        gc.enable()
        env.apply_seed(reseed())
        sock = socket.socket(fileno=listener)
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(_serve(env, report, sock, parent, termination))
    except BaseException as error:
        status = report.failed(error)
    leave(status)


def leave(status: int) -> NoReturn:
    """End this process now: buffers are flushed, exit handlers belong to the warm parent."""
    with contextlib.suppress(Exception):
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


async def _serve(
    env: Environment,
    report: Report,
    sock: socket.socket,
    parent: int,
    termination: Termination,
) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    starting = asyncio.current_task()

    def stop() -> None:
        stopped.set()
        if starting is not None:
            starting.cancel()

    _wake_on_signals(loop)
    termination.action = lambda: loop.call_soon_threadsafe(stop)
    if not LINUX:
        _watch_parent(loop, parent, stop)
    try:
        async with bind(env, sock=sock):
            starting = None
            report.ready()
            await stopped.wait()
    except asyncio.CancelledError:
        if not stopped.is_set():
            raise
        await env.stop()


def _wake_on_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Have a signal end the loop's wait, so that its handler runs at once."""
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    loop.add_reader(wake, os.read, wake, 4096)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)


def _watch_parent(loop: asyncio.AbstractEventLoop, parent: int, stop: Callable[[], None]) -> None:
    """Where the kernel does not tell, look now and then whether the parent still lives."""
    if os.getppid() != parent:
        stop()
    else:
        loop.call_later(_WATCH_PARENT_S, _watch_parent, loop, parent, stop)
