"""Ctrl-C and SIGTERM while a job runs: once to wind down, twice to stop, a third time to quit."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Generator

from hud.eval.schedule import Stop

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stopping(stop: Stop, say: Callable[[str], None]) -> Generator[None]:
    """Turn the signals of this process into requests to `stop` while the block runs.

    After the second one the signals mean what they usually do, so a third ends the process.
    """
    loop = asyncio.get_running_loop()

    def asked() -> None:
        stop.request()
        if stop.requests == 1:
            say(
                f"stopping: nothing new is started, running rollouts get {stop.grace_s:g} s "
                "(press Ctrl-C again to stop now)"
            )
        else:
            say("stopping now")
            _release(loop)

    for number in _SIGNALS:
        loop.add_signal_handler(number, asked)
    try:
        yield
    finally:
        _release(loop)


def _release(loop: asyncio.AbstractEventLoop) -> None:
    for number in _SIGNALS:
        loop.remove_signal_handler(number)
