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
_FOREIGN = (_PACKAGE, "<", str(Path(asyncio.__file__).parent.parent))


class BlockWatch:
    """Watch the running loop from a thread between `start` and `stop`.

    One call that keeps the loop from turning for over a second is logged once per place, with the
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
            beat = self._beat
            if time.monotonic() - beat < BLOCKED_S:
                continue
            frame = self._user_frame()
            # A busy loop is no blocked one: the same call must still be there a moment later.
            if frame is None or self._stop.wait(BLOCKED_S / 4):
                continue
            if self._user_frame() is frame and self._beat == beat:
                self._report(frame, time.monotonic() - beat)
            del frame

    def _user_frame(self) -> FrameType | None:
        """Return the innermost frame of the user's own code that the loop is running now."""
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
        frame = frames.get(self._thread_id)
        while frame is not None:
            name = frame.f_code.co_filename
            if frame.f_code.co_name == "_run_once" and "asyncio" in name:
                return None
            if not name.startswith(_FOREIGN) and "/site-packages/" not in name:
                return frame
            frame = frame.f_back
        return None

    def _report(self, frame: FrameType, blocked_s: float) -> None:
        code = frame.f_code
        place = f"{code.co_filename}:{frame.f_lineno} ({code.co_name})"
        if place in self._seen:
            return
        self._seen.add(place)
        logger.warning(
            "%s has blocked the event loop for over %.1f s, and every concurrent rollout with it; "
            "%s",
            place,
            blocked_s,
            self._advice,
        )
