"""Server-sent events cut out of a stream as it passes, in whatever pieces it comes.

What an event says belongs to who reads it: `usage` here, the dialects' formats elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from hud._core import json

MAX_EVENT_BYTES = 16 * 1024 * 1024
_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class EventTooLong(ValueError):
    """An event without an end."""


class EventCutter:
    """Cuts a stream into events. Only the line ends between them are looked for."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._looked = 0

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Take in more of the stream and yield the events that are whole now, as they came.

        Raises:
            EventTooLong: when what is held is no event any more.
        """
        held = self._held
        held += data
        while (end := _END.search(held, self._looked)) is not None:
            yield bytes(held[: end.end()])
            del held[: end.end()]
            self._looked = 0
        self._looked = max(0, len(held) - 3)
        if len(held) > MAX_EVENT_BYTES:
            raise EventTooLong(f"an event of more than {MAX_EVENT_BYTES} bytes")

    def rest(self) -> bytes:
        """Return what is left of a stream that is over."""
        rest = bytes(self._held)
        self._held.clear()
        return rest


def event_data(event: bytes) -> bytes:
    """Return the data of an event: its `data` lines, joined."""
    lines = event.splitlines()
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))


class UsageHider:
    """Takes the event out of a stream that Chat Completions adds when it is asked for usage."""

    def __init__(self) -> None:
        self._cutter: EventCutter | None = EventCutter()

    def shown(self, data: bytes) -> bytes:
        """Return what is left of a piece of the stream, events that are not whole yet left out."""
        if self._cutter is None:
            return data
        events: list[bytes] = []
        try:
            events += [event for event in self._cutter.cut(data) if not is_usage_event(event)]
        except EventTooLong:
            events.append(self.rest())
        return b"".join(events)

    def rest(self) -> bytes:
        """Return what was held back when the stream is over; nothing is looked at any more."""
        cutter, self._cutter = self._cutter, None
        return b"" if cutter is None else cutter.rest()


def is_said(field: bytes, event: bytes) -> bool:
    """Tell, without decoding, whether an event may have a field that is not null."""
    at = event.find(field)
    # OpenAI repeats a null of its usage in every event but the last.
    return at >= 0 and not event.startswith(b"null", at + len(field) + 1)


def is_usage_event(event: bytes) -> bool:
    """Tell whether an event of Chat Completions holds the usage and nothing else."""
    if not is_said(b'"usage"', event):
        return False
    data = event_data(event)
    try:
        read: Any = json.decode(data)
    except ValueError:
        return False
    if not isinstance(read, dict):
        return False
    held = cast("dict[str, Any]", read)
    return held.get("choices") == [] and bool(held.get("usage"))
