"""Wall-clock times as traces spell them: ISO 8601, UTC, microseconds, `Z`."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> str:
    """Return the present time."""
    return iso(time.time_ns() // 1_000)


def iso(micros: int) -> str:
    """Spell integer microseconds since the epoch."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:06d}Z"


def micros(text: str) -> int:
    """Read a time as integer microseconds since the epoch; one without a zone is UTC.

    Raises:
        ValueError: when it is no ISO 8601 time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000_000)
