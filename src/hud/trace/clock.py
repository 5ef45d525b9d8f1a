"""Wall-clock times as traces spell them: ISO 8601, UTC, microseconds, `Z`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache

_LENGTH = len("2026-01-31T23:59:59.000000Z")


def utc_now() -> str:
    """Return the present time."""
    return iso(time.time_ns() // 1_000)


def iso(micros: int) -> str:
    """Spell integer microseconds since the epoch."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def micros(text: str) -> int:
    """Read a time as integer microseconds since the epoch; one without a zone is UTC.

    Raises:
        ValueError: when it is no ISO 8601 time.
    """
    if len(text) == _LENGTH and text[-1] == "Z":
        return _epoch(text[:19]) * 1_000_000 + int(text[20:26])
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000_000)


@lru_cache(maxsize=16)
def _epoch(second: str) -> int:
    return int(datetime.fromisoformat(second).replace(tzinfo=UTC).timestamp())
