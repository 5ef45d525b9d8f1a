"""Notice code that blocks an event loop, and say where it stands.

Meant for user code that shares the loop with many rollouts; it reports, it does not interrupt.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from pathlib import Path
from types import FrameType

logger = logging.getLogger(__name__)

BLOCKED_S = 1.0
_BEAT_S = 0.2
_PACKAGE = str(Path(__file__).resolve().parent.parent)


class BlockWatch:
    """Watch the running loop from a thread between `start` and `stop`.

    Code that keeps the loop from turning for over a second is logged once per place, with the
    file and line of the innermost frame that is the user's own.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._beat = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._stop = threading.Event()
        self._seen: set[str] = set()
        self._thread = threading.Thread(target=self._watch, name="hud-block-watch", daemon=True)

    def start(self) -> None:
        self._tick()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
        self._thread.join()

    def _tick(self) -> None:
        self._beat = time.monotonic()
        self._timer = self._loop.call_later(_BEAT_S, self._tick)

    def _watch(self) -> None:
        while not self._stop.wait(BLOCKED_S / 2):
            blocked = time.monotonic() - self._beat
            if blocked < BLOCKED_S:
                continue
            frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
            place = _place(frames.get(self._thread_id))
            if place is not None and place not in self._seen:
                self._seen.add(place)
                logger.warning(
                    "%s has blocked the event loop for over %.1f s, and every concurrent "
                    "rollout with it; %s",
                    place,
                    blocked,
                    self._advice,
                )


def _place(frame: FrameType | None) -> str | None:
    """Name the innermost frame outside this package, asyncio and the standard library."""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_PACKAGE, "<", sys.base_prefix)) and "/asyncio/" not in name:
            return f"{name}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back
    return None
