"""Times on the wire: ISO-8601 in UTC with microseconds, from the integers that are stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hud.platform.database import now_us

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_required(micros: int) -> str:
    """Return a stored time as the API spells it."""
    moment = _EPOCH + timedelta(microseconds=micros)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def iso(micros: int | None) -> str | None:
    """Return a stored time as the API spells it, None for none."""
    return None if micros is None else iso_required(micros)


def micros_in(seconds: float) -> int:
    """Return the time `seconds` from now, as it is stored."""
    return now_us() + int(seconds * 1_000_000)
