"""SIGTERM as Ctrl-C: whoever ends a command ends it in an orderly way, however it is told to."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType


@contextlib.contextmanager
def sigterm_interrupts() -> Generator[None]:
    """Have SIGTERM do what Ctrl-C does while the block runs.

    A signal that is ignored, or is somebody else's already, stays what it is.
    """
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Whoever awaits Ctrl-C, an event loop for example, is told its way.
    if callable(signal.getsignal(signal.SIGINT)):
        signal.raise_signal(signal.SIGINT)
    else:
        raise KeyboardInterrupt
