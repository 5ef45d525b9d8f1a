"""The platform as a sink: what runs do is reported there, from what the local store keeps.

A sink beside the store's, never without it. It is durable at once, because the store is.
"""

from __future__ import annotations

import atexit
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from hud._core.paths import hud_home
from hud.eval.reporting.reporter import Reporter
from hud.trace.sinks import Event

if TYPE_CHECKING:
    from hud.api.place import PlatformPlace

EXIT_S = 3.0
"""How long the end of a process waits for what no job waited for."""

_lock = threading.Lock()
_reporters: dict[tuple[Path, str], Reporter] = {}


class PlatformSink:
    """Report events. The reporter is shared, and stays this module's to end."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def put(self, event: Event) -> None:
        self.reporter.put(event)

    async def committed(self) -> None:
        """Nothing is waited for: what has not arrived is in the local store."""

    async def aclose(self) -> None:
        """The reporter goes on for others."""


def configured_sink() -> PlatformSink | None:
    """Return the sink of the platform the settings name; None without one, or when told not to.

    Raises:
        InputError: when a setting cannot be used.
    """
    from hud._core.settings import read_settings
    from hud.api.place import configured_place

    settings = read_settings()
    if not (settings.telemetry_enabled and settings.hud_api_url and settings.api_key):
        return None
    place = configured_place()
    return None if place is None else PlatformSink(reporter_for(place))


def reporter_for(place: PlatformPlace, home: Path | None = None) -> Reporter:
    """Return this process's reporter from a store to a platform."""
    key = (home or hud_home(create=False)), place.identity
    with _lock:
        reporter = _reporters.get(key)
        if reporter is None:
            reporter = _reporters[key] = Reporter(place, key[0])
            # Anew each time, so that it runs before the stores are closed.
            atexit.unregister(end_reporters)
            atexit.register(end_reporters)
    return reporter


def flush_reporters(timeout_s: float) -> bool:
    """Wait until everything recorded so far has arrived; return whether it has."""
    with _lock:
        reporters = list(_reporters.values())
    arrived = [reporter.flush(timeout_s) for reporter in reporters]
    return all(arrived)


def end_reporters(timeout_s: float = EXIT_S) -> None:
    """End all reporting of this process; what has not arrived by then is sent later."""
    with _lock:
        reporters = list(_reporters.values())
        _reporters.clear()
    for reporter in reporters:
        reporter.end(timeout_s)


def _forget_reporters() -> None:
    """In a forked child: the threads are the parent's, and one may have held the lock."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _reporters.clear()


os.register_at_fork(after_in_child=_forget_reporters)
